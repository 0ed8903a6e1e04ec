//! One episode: processes are started, disturbed, killed, shut down and started again; then the faults end, and all must
//! come right.

use std::sync::{Arc, Mutex};

use msync::{Client, unstable::record::Record};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    foreigner::Foreigner,
    judge::Judge,
    machine::{LocalTime, Machine},
    stage::{Stage, State, name},
    users::User,
    wire::Wire,
};
use crate::{plan::MILLI, process::LocalClock, rng::Rng};

/// A call that times out, twice if its answer is lost as well.
const LONGEST_LOOK: u64 = 25_000 * MILLI;

/// What the director of an episode is told.
#[derive(Clone, Copy)]
enum News {
    /// The user tasks of a life have ended.
    Ended(usize, u64),
    /// A process is to be killed.
    Dies(usize, u64),
    /// A client is to be shut down.
    Closes(usize, u64),
    /// A shutdown is complete: the process exits.
    Exits(usize, u64),
    /// A dead process is started again.
    Starts(usize),
}

/// A way in which a machine may still be in the record.
type There = fn(Option<&Record>, &Machine) -> bool;

/// One process, as the director sees it.
struct Process {
    machine: Arc<Machine>,
    client: Client,
    users: Vec<AbortHandle>,
    /// How many of its users have not ended.
    busy: usize,
}

/// Who directs an episode.
pub(crate) struct Director {
    stage: Arc<Stage>,
    rng: Rng,
    news: mpsc::UnboundedSender<News>,
    told: mpsc::UnboundedReceiver<News>,
    processes: Vec<Process>,
    /// Processes that are to start or to exit.
    pending: usize,
    /// How many acquisitions had come to their end when the director last looked.
    progress: u64,
}

// === impl Director ===

impl Director {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        let (news, told) = mpsc::unbounded_channel();
        let rng = stage.fork();
        let mut director = Self { stage, rng, news, told, processes: Vec::new(), pending: 0, progress: 0 };
        for index in 0..director.stage.plan.processes {
            let process = director.start(index, 0);
            director.processes.push(process);
        }
        if director.stage.plan.stranger {
            let foreigner = Foreigner::new(Arc::clone(&director.stage), Rng::new(director.rng.bits()));
            tokio::spawn(foreigner.live());
        }
        director
    }

    /// Plays the episode to its end.
    pub(crate) async fn play(mut self) {
        self.disturbed().await;
        self.stage.say(|| "the faults have ended".to_owned());
        self.last_round().await;
        if !self.is_broken() {
            self.silence().await;
            self.shut_all_down().await;
        }
    }

    fn start(&mut self, index: usize, life: u64) -> Process {
        let (stage, rng) = (Arc::clone(&self.stage), &mut self.rng);
        let machine = Arc::new(Machine::new(index, life, stage.time, LocalClock::draw(rng)));
        if stage.plan.wrong_walls {
            machine.jump(an_hour(rng));
        }
        let random = Mutex::new(Rng::new(rng.bits()));
        let mut builder = Client::builder()
            .owner(stage.plan.home.owner(index))
            .timing(stage.plan.timings[0])
            .clock(LocalTime(Arc::clone(&machine)))
            .sessions(stage.plan.sessions)
            .random(move || random.lock().expect("never poisoned").bits());
        if stage.plan.adopt {
            let owner = stage.plan.home.owner(index);
            builder = builder.pod(stage.plan.home.role(index), format!("pod of {owner}"));
        }
        let wire = Wire::new(&stage, &machine);
        let client = builder.store(Arc::new(wire)).build();
        machine.engine.set(msync::unstable::record::EngineId::from_text(client.identity())).expect("set once");
        let mut process = Process { machine, client, users: Vec::new(), busy: 0 };
        for _ in 0..stage.plan.tasks {
            self.employ(&mut process);
        }
        self.trouble(&process.machine);
        process
    }

    fn employ(&mut self, process: &mut Process) {
        let user = self.user(process);
        let think = self.stage.plan.think;
        self.employ_with(process, user.live(think));
    }

    fn employ_with(&mut self, process: &mut Process, life: impl Future<Output = ()> + Send + 'static) {
        let (news, index, of) = (self.news.clone(), process.machine.index, process.machine.life);
        process.busy += 1;
        let task = tokio::spawn(async move {
            life.await;
            let _ = news.send(News::Ended(index, of));
        });
        process.users.push(task.abort_handle());
    }

    fn user(&mut self, process: &Process) -> User {
        let (stage, machine) = (Arc::clone(&self.stage), Arc::clone(&process.machine));
        User { stage, machine, client: process.client.clone(), rng: Rng::new(self.rng.bits()), name: name() }
    }

    /// Lets things go wrong with a process, again and again while it lives and the faults last.
    fn trouble(&mut self, machine: &Arc<Machine>) {
        let (stage, machine, news) = (Arc::clone(&self.stage), Arc::clone(machine), self.news.clone());
        let mut rng = Rng::new(self.rng.bits());
        tokio::spawn(async move {
            loop {
                // About as often as a user acquires.
                stage.time.sleep(MILLI + rng.below(stage.plan.think + stage.plan.ttl / 2)).await;
                if stage.is_calm() || machine.is_dead() {
                    return;
                }
                disturb(&stage, &machine, &news, &mut rng).await;
            }
        });
    }

    /// Plays until the faults have ended and their last effects are over: all users must come to their end.
    async fn disturbed(&mut self) {
        while self.pending > 0 || self.processes.iter().any(|process| process.busy > 0) || !self.stage.is_calm() {
            let limit = self.limit();
            tokio::select! {
                biased;
                news = self.told.recv() => {
                    let Some(news) = news else { return };
                    self.take(news);
                }
                () = self.stage.time.sleep_until(limit) => if self.is_over() { return },
            }
            if self.is_broken() {
                return;
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.stage.with(|state| state.judge.verdict.is_some())
    }

    /// Says whether everybody has had the time to come to an end, and has not. Faults that let nobody get on end here.
    fn is_over(&mut self) -> bool {
        let now = self.stage.time.now();
        let progress = self.stage.with(|state| {
            let story = state.told();
            story.acquisitions + story.in_vain
        });
        let stands_still = std::mem::replace(&mut self.progress, progress) == progress;
        if !self.stage.is_calm() {
            if stands_still {
                self.stage.with(State::calm_down);
            }
            return false;
        }
        let over = now >= self.limit();
        if over {
            let left = self.processes.iter().filter(|process| process.busy > 0);
            let left: Vec<_> = left.map(|process| (&process.machine, process.busy)).collect();
            self.stage.with(|state| state.judge.broken(now, format!("liveness: users still wait: {left:?}")));
        }
        over
    }

    /// Returns by when everybody must have had the lock: the silence of a watch is noticed after 90 s at most. Where a hand has
    /// spoilt what a Lease says of an engine's ttl, the longest of all is waited for, of the hold that was seen and of the next.
    fn limit(&self) -> u64 {
        let illegible = if self.stage.plan.leases && self.stage.plan.junk > 0 { 2 * 300_000 * MILLI } else { 0 };
        let span = 60 * self.stage.plan.ttl + 150_000 * MILLI + illegible;
        let calm = self.stage.with(|state| state.calm.then_some(state.trouble_until));
        calm.unwrap_or_else(|| self.stage.time.now()) + span
    }

    fn take(&mut self, news: News) {
        match news {
            News::Ended(index, life) if self.lives(index, life) => self.processes[index].busy -= 1,
            News::Dies(index, life) if self.lives(index, life) => {
                self.stage.with(|state| state.judge.story.crashes += 1);
                self.kill(index);
            }
            News::Closes(index, life) if self.lives(index, life) => self.close(index, life),
            News::Exits(index, life) => {
                self.pending -= 1;
                if self.lives(index, life) {
                    self.kill(index);
                }
            }
            News::Starts(index) => {
                self.pending -= 1;
                let life = self.processes[index].machine.life + 1;
                self.stage.say(|| format!("p{index} starts again"));
                self.processes[index] = self.start(index, life);
            }
            News::Ended(..) | News::Dies(..) | News::Closes(..) => {}
        }
    }

    fn lives(&self, index: usize, life: u64) -> bool {
        let machine = &self.processes[index].machine;
        machine.life == life && !machine.is_dead()
    }

    /// Ends a process at once, and drops its client and its users; somebody starts it again.
    fn kill(&mut self, index: usize) {
        let (rng, stage) = (&mut self.rng, &self.stage);
        let process = &mut self.processes[index];
        stage.say(|| format!("{:?} is dead", process.machine));
        process.machine.kill();
        stage.with(|state| state.all_judges().for_each(|judge| judge.dies(&process.machine)));
        process.users.drain(..).for_each(|user| user.abort());
        process.busy = 0;
        let down = if stage.is_calm() || rng.chance(500) { MILLI } else { stage.long(rng) };
        let (time, news) = (stage.time, self.news.clone());
        self.pending += 1;
        tokio::spawn(async move {
            time.sleep(down).await;
            let _ = news.send(News::Starts(index));
        });
    }

    /// Shuts a client down in good order; its process exits after that.
    fn close(&mut self, index: usize, life: u64) {
        let process = &self.processes[index];
        let (client, machine, news) = (process.client.clone(), Arc::clone(&process.machine), self.news.clone());
        let stage = Arc::clone(&self.stage);
        self.stage.say(|| format!("{machine:?} shuts down"));
        let jumps = self.stage.plan.jump > 0 || self.stage.plan.wrong_walls;
        self.stage.with(|state| {
            state.judge.story.shutdowns += 1;
            if jumps {
                state.all_judges().for_each(|judge| judge.forget_kept(&machine));
            }
        });
        self.pending += 1;
        tokio::spawn(async move {
            tokio::select! {
                () = client.shutdown() => {}
                () = dead(&stage, &machine) => {}
            }
            let _ = news.send(News::Exits(index, life));
        });
    }

    /// Each process takes the lock once more: whatever is stuck comes up.
    async fn last_round(&mut self) {
        if self.is_broken() {
            return;
        }
        let late = self.stage.with(|state| state.trouble_until);
        self.stage.time.sleep_until(late + 100 * MILLI).await;
        // Before anybody asks again. What was denied for longer than its ttl is left to that.
        if self.stage.with(|state| state.denial.until() == 0) {
            self.nobody_is(Judge::held_by).await;
        }
        for mut process in std::mem::take(&mut self.processes) {
            let user = self.user(&process);
            self.employ_with(&mut process, user.last());
            self.processes.push(process);
        }
        self.stage.with(|state| state.trouble_until = state.trouble_until.max(self.stage.time.now()));
        self.disturbed().await;
    }

    /// At the end nobody of the living is in the record, and for three ttl nobody calls: nothing is renewed for nobody.
    async fn silence(&mut self) {
        let ttl = self.stage.plan.ttl;
        self.nobody_is(Judge::left_behind).await;
        // An event that comes late enough looks like news to an engine that has forgotten the lock: it looks once.
        let late = self.stage.with(|state| state.trouble_until);
        self.stage.time.sleep_until(late + ttl).await;
        // Whoever does not know what became of its last write looks when that has timed out, which may take ten seconds.
        self.stage.time.sleep(ttl.max(LONGEST_LOOK)).await;
        let (at, left) = (self.stage.time.now(), self.left(Judge::left_behind));
        let calls = self.stage.with(|state| {
            if let Some(left) = left {
                state.judge.broken(at, left);
            }
            state.told().calls
        });
        self.stage.time.sleep(3 * ttl).await;
        let at = self.stage.time.now();
        self.stage.with(|state| {
            let more = state.told().calls - calls;
            if more > 0 {
                state.judge.broken(at, format!("S6: {more} calls after everybody was done"));
            }
        });
    }

    /// Waits until nobody of the living is in the record in such a way.
    async fn nobody_is(&self, there: There) {
        // What an engine does not know to be its own it learns when its silent inbox is opened anew.
        let limit = self.stage.time.now() + 10 * self.stage.plan.ttl + 100_000 * MILLI;
        while let Some(left) = self.left(there) {
            let now = self.stage.time.now();
            if now >= limit {
                return self.stage.with(|state| state.judge.broken(now, left));
            }
            self.stage.time.sleep(100 * MILLI).await;
        }
    }

    fn left(&self, there: There) -> Option<String> {
        self.stage.with(|state| {
            let in_one = |record| {
                let found = self.processes.iter().find(|process| there(Some(record), &process.machine));
                found.map(|process| format!("liveness: {:?} is still in the record {record:?}", process.machine))
            };
            state.records().find_map(in_one)
        })
    }

    /// With nothing held a shutdown is over at once.
    async fn shut_all_down(&mut self) {
        for process in &self.processes {
            let start = self.stage.time.now();
            process.client.shutdown().await;
            let took = self.stage.time.now() - start;
            if took > MILLI {
                let what = format!("liveness: the shutdown of {:?} took {} ms", process.machine, took / MILLI);
                self.stage.with(|state| state.judge.broken(start, what));
            }
        }
    }
}

/// Draws what goes wrong about now with a process.
async fn disturb(stage: &Stage, machine: &Machine, news: &mpsc::UnboundedSender<News>, rng: &mut Rng) {
    let plan = &stage.plan;
    if rng.chance(plan.jump) {
        machine.jump(an_hour(rng));
    }
    if rng.chance(plan.pause) {
        let span = stage.long(rng);
        stage.freeze(machine, span);
    }
    if rng.chance(plan.partition) {
        let span = stage.long(rng);
        machine.cut(stage.time.now() + span);
        stage.say(|| format!("{machine:?} is cut off for {} ms", span / MILLI));
    }
    // A plan without denials tells the stories that it told before there were any.
    if plan.denial > 0 && rng.chance(plan.denial) {
        stage.deny();
    }
    if rng.chance(plan.junk) {
        stage.time.sleep(rng.below(plan.ttl)).await;
        stage.scribble();
    }
    if rng.chance(plan.crash) {
        let _ = news.send(News::Dies(machine.index, machine.life));
    } else if rng.chance(plan.shutdown) {
        let _ = news.send(News::Closes(machine.index, machine.life));
    }
}

/// Draws up to an hour, either way, in milliseconds.
fn an_hour(rng: &mut Rng) -> i64 {
    i64::try_from(rng.below(7_200_000)).unwrap_or(0) - 3_600_000
}

/// Completes when a machine has died: not by its own timers, which go with it.
async fn dead(stage: &Stage, machine: &Machine) {
    while !machine.is_dead() {
        stage.time.sleep(100 * MILLI).await;
    }
}
