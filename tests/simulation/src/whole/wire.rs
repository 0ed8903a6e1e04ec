//! The store that a process is given: the wire to the server, with everything that goes wrong on it.
//!
//! A request is under way on its own: whoever sent it may be dropped, frozen or dead, and it still arrives.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use futures::{StreamExt, channel::mpsc, future::BoxFuture, stream};
use msync::{
    LockName,
    unstable::{
        protocol::{Call, Outcome},
        record::{
            Change, EngineId, Refused,
            leased::{Approach, Leased, Op},
        },
        store::{Fatal, Fault, Scope, Snapshot, Store, Version, Watch},
    },
};
use tokio::sync::oneshot;

use super::{
    machine::Machine,
    stage::{Stage, is_session},
};
use crate::{network::Fate, plan::MILLI};

/// The wire of one process.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) stage: Arc<Stage>,
    pub(crate) machine: Arc<Machine>,
    /// The Lease as this process has last seen it, as its store does.
    pub(crate) known: Arc<Mutex<Option<Leased>>>,
}

/// What the server answers, and the Lease as it is then.
type Answer = (Outcome, Option<Leased>);

/// What becomes of a call, and whether a reply that is lost is noticed at once.
struct Course {
    fate: Fate,
    reset: bool,
}

/// Makes a fault whose call may or may not have been applied.
pub(crate) fn unknown() -> Fault {
    static SOURCE: OnceLock<Arc<dyn std::error::Error + Send + Sync>> = OnceLock::new();
    let source = SOURCE.get_or_init(|| {
        let error: Box<dyn std::error::Error + Send + Sync> = "the connection was lost".into();
        error.into()
    });
    Fault::Unknown(Arc::clone(source))
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stage: &Arc<Stage>, machine: &Arc<Machine>) -> Self {
        Self { stage: Arc::clone(stage), machine: Arc::clone(machine), known: Arc::default() }
    }

    async fn call(&self, name: &LockName, call: Call) -> Result<Outcome, Fault> {
        self.decides(name, &call);
        self.request(name, call, Vec::new()).await
    }

    /// Sends a change of a Lease as the store on Leases does. It is decided on now: what the store has to look at before is of
    /// the same call, and whoever gives up meanwhile finds it under way.
    async fn change(&self, name: &LockName, change: &Change) -> Result<Answer, Fault> {
        let call = Call::Apply(change.clone());
        match Leased::approach(self.known().as_ref(), change) {
            Approach::Send(ops) => {
                self.decides(name, &call);
                self.ask(name, call, ops).await
            }
            Approach::Refused => Ok((Outcome::Refused(Refused::Mismatch), None)),
            Approach::Look => {
                self.decides(name, &call);
                self.look_and_change(name, change).await
            }
        }
    }

    async fn look_and_change(&self, name: &LockName, change: &Change) -> Result<Answer, Fault> {
        self.call(name, Call::Read).await?;
        let Some(seen) = self.known() else { return Ok((Outcome::Refused(Refused::Absent), None)) };
        match seen.send(change) {
            Approach::Send(ops) => self.ask(name, Call::Apply(change.clone()), ops).await,
            Approach::Refused | Approach::Look => Ok((Outcome::Refused(Refused::Mismatch), None)),
        }
    }

    /// The process has decided on a call.
    fn decides(&self, name: &LockName, call: &Call) {
        let now = self.stage.time.now();
        if is_session(name) {
            self.stage.with(|state| state.judge.sent_of_session(now, &self.machine, call));
        } else {
            self.stage.judge(name, |judge| judge.sent(now, &self.machine, call));
        }
    }

    /// Takes what the answer of a write has shown; a watch may have shown more since.
    fn learns(&self, written: Option<Leased>) {
        let mut known = self.known.lock().expect("never poisoned");
        let version = |leased: &Option<Leased>| leased.as_ref().map(|leased| leased.version);
        if version(&known) < version(&written) {
            *known = written;
        }
    }

    fn known(&self) -> Option<Leased> {
        self.known.lock().expect("never poisoned").clone()
    }

    async fn request(&self, name: &LockName, call: Call, ops: Vec<Op>) -> Result<Outcome, Fault> {
        Ok(self.ask(name, call, ops).await?.0)
    }

    /// Moves behind those who came before, as the store does.
    async fn line_up(&self, name: &LockName, change: &Change, joined: Answer) -> Outcome {
        let (Change::Enqueue { claim, .. }, (Outcome::Applied(_), Some(leased))) = (change, &joined) else {
            return joined.0;
        };
        let Some(ops) = leased.line_up(claim.term) else { return joined.0 };
        match self.request(name, Call::Apply(change.clone()), ops).await {
            Ok(moved @ Outcome::Applied(_)) => moved,
            _ => joined.0,
        }
    }

    async fn ask(&self, name: &LockName, call: Call, ops: Vec<Op>) -> Result<Answer, Fault> {
        self.stop_at_random();
        self.machine.awake().await;
        let course = self.course();
        if course.fate.denied {
            self.machine.sleep(MILLI).await;
            return Err(Fault::Fatal(Fatal::Forbidden("the server has just started".to_owned())));
        }
        if course.fate.busy {
            self.machine.sleep(MILLI).await;
            return Err(Fault::Busy(None));
        }
        let (reply, answer) = oneshot::channel();
        let (sent, name) = (self.clone(), name.clone());
        tokio::spawn(async move { sent.deliver(&name, &call, &ops, course, reply).await });
        let answer = answer.await;
        self.machine.awake().await;
        if self.machine.is_cut() {
            return std::future::pending().await;
        }
        let (outcome, leased) = answer.map_err(|_| unknown())?;
        match &outcome {
            Outcome::Applied(_) => self.learns(leased.clone()),
            Outcome::Read(_) | Outcome::Deleted => self.known.lock().expect("never poisoned").clone_from(&leased),
            Outcome::Refused(_)
            | Outcome::Busy(_)
            | Outcome::Unsent
            | Outcome::Unknown
            | Outcome::Denied
            | Outcome::Fatal => {}
        }
        Ok((outcome, leased))
    }

    /// Freezes the machine now and then just when it sends: its anchor is taken, the request has not left yet.
    fn stop_at_random(&self) {
        let (stage, pause) = (&self.stage, self.stage.plan.pause / 8);
        let mut rng = stage.fork();
        if !stage.is_calm() && rng.chance(pause) {
            let span = stage.long(&mut rng);
            stage.freeze(&self.machine, span);
        }
    }

    fn course(&self) -> Course {
        let (plan, cut, now) = (&self.stage.plan, self.machine.is_cut(), self.stage.time.now());
        self.stage.with(|state| {
            let calm = state.calm && !cut;
            let rng = &mut state.rng;
            let fate = if state.denial.is_on(now) && !cut {
                Fate::denied(rng)
            } else if calm {
                Fate::fair(rng)
            } else {
                Fate::draw(plan, cut, plan.ttl / 6, rng)
            };
            let course = Course { fate, reset: rng.chance(500) };
            let last = course.fate.first.max(course.fate.second).unwrap_or(0);
            state.trouble_until = state.trouble_until.max(now + last);
            course
        })
    }

    async fn deliver(self, name: &LockName, call: &Call, ops: &[Op], course: Course, reply: oneshot::Sender<Answer>) {
        let Self { stage, machine, known: _ } = self;
        let sender: EngineId = machine.engine.get().cloned().unwrap_or_default();
        let sent = stage.time.now();
        let mut answer = None;
        for delay in [course.fate.first, course.fate.second].into_iter().flatten() {
            stage.time.sleep_until(sent + delay).await;
            answer = Some(stage.serve(&sender, &machine, name, call, ops));
        }
        match (answer, course.fate.reply) {
            (Some(answer), Some(back)) => {
                stage.time.sleep(back).await;
                let _ = reply.send(answer);
            }
            _ if course.reset => drop(reply),
            _ => {
                // Nobody answers, and nobody says so: the caller's own time-out must end it.
                let mut reply = reply;
                reply.closed().await;
            }
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?})", self.machine)
    }
}

impl Store for Wire {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            match self.call(name, Call::Read).await? {
                Outcome::Read(found) => Ok(found),
                other => Err(refused(&other)),
            }
        })
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(async {
            let on_a_lease = self.stage.plan.leases && !matches!(change, Change::Create { .. });
            let outcome = match change {
                _ if !on_a_lease => self.call(name, Call::Apply(change.clone())).await?,
                // Where there may have been no annotations yet.
                Change::Enqueue { .. } => {
                    let joined = match self.change(name, change).await? {
                        (Outcome::Refused(Refused::Mismatch), _) => self.look_and_change(name, change).await?,
                        answer => answer,
                    };
                    self.line_up(name, change, joined).await
                }
                _ => self.change(name, change).await?.0,
            };
            match outcome {
                Outcome::Applied(snapshot) => Ok(snapshot),
                other => Err(refused(&other)),
            }
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async {
            match self.call(name, Call::Delete(version.clone())).await? {
                Outcome::Deleted => Ok(()),
                other => Err(refused(&other)),
            }
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        let (queue, told) = mpsc::unbounded();
        self.stage.watch(scope, Arc::clone(&self.machine), queue);
        let ear = (self.clone(), told);
        stream::unfold(ear, |(wire, mut told)| async move {
            let (at, what, leased) = told.next().await?;
            wire.stage.time.sleep_until(at).await;
            wire.machine.awake().await;
            let mut known = wire.known.lock().expect("never poisoned");
            if known.as_ref().zip(leased.as_ref()).is_some_and(|(known, leased)| known.version < leased.version) {
                *known = leased;
            }
            drop(known);
            Some((what, (wire, told)))
        })
        .boxed()
    }
}

fn refused(outcome: &Outcome) -> Fault {
    match outcome {
        Outcome::Refused(refused) => Fault::Refused(*refused),
        _ => unreachable!("the server answers what it was asked"),
    }
}
