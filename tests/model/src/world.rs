//! A state of the model: the server, the engines, and what is on its way between them.

use std::sync::Arc;

use msync::unstable::{
    protocol::{Call, Event, Glance, Outcome},
    store::Snapshot,
};

use crate::{Budget, Node, Ops, Plan, Promise, Seen, Server, Session, Step, Stranger};

/// Who in an engine calls, and about which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Desk {
    /// The keeper of the lock.
    Lock,
    /// Whoever has to do with the session.
    Session,
}

/// A call on its way to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// Which engine sent it.
    pub from: u8,
    /// Who there.
    pub desk: Desk,
    /// What it asks for.
    pub call: Call,
    /// The engine still awaits the answer.
    pub awaited: bool,
    /// Time may pass before it arrives, if it ever does.
    pub late: bool,
    /// What it does to a Lease.
    pub ops: Ops,
}

/// An answer on its way to an engine that still awaits it. Time may pass before it arrives, if it ever does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reply {
    /// Which engine awaits it.
    pub to: u8,
    /// Who there.
    pub desk: Desk,
    /// What became of the call.
    pub outcome: Outcome,
    /// What the store learns of a Lease.
    pub seen: Seen,
}

/// Everything, at one instant of true time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// True time, in ticks.
    pub now: u16,
    /// The server, of the lock.
    pub server: Server,
    /// The same, of the session.
    pub session: Server,
    /// The session was removed by another engine.
    pub killed: bool,
    /// The engines.
    pub nodes: Vec<Arc<Node>>,
    /// A set: sorted, so that the order of sending makes no difference.
    pub requests: Vec<Request>,
    /// A set: sorted.
    pub replies: Vec<Reply>,
    /// What may still go wrong.
    pub budget: Budget,
    /// The greatest token so far.
    pub token: u64,
    /// The record stands in a Lease.
    pub leases: bool,
    /// Who elects by it beside the engines.
    pub stranger: Stranger,
    /// A promise that the last transition broke; nothing happens any more after that.
    pub broken: Option<Promise>,
}

// === impl World ===

impl World {
    /// Makes the state that a plan begins in.
    pub fn new(plan: &Plan) -> Self {
        let nodes = (0..).zip(&plan.peers).map(|(index, peer)| Arc::new(Node::new(index, peer, plan.session)));
        let mut world = Self {
            now: 0,
            server: Server::default(),
            session: Server::default(),
            killed: false,
            nodes: nodes.collect(),
            requests: Vec::new(),
            replies: Vec::new(),
            budget: plan.budget,
            token: 0,
            leases: plan.leases,
            stranger: Stranger::default(),
            broken: None,
        };
        if plan.session != Session::None {
            world.run(0, |node| node.launch(plan.peers[0].timing));
            world.serve(0, false);
            (0..world.nodes.len()).for_each(|index| world.nodes[index] = Arc::new(world.nodes[index].without_sights()));
        }
        world
    }

    /// Returns an engine, to be changed.
    pub fn node(&mut self, index: u8) -> &mut Node {
        Arc::make_mut(&mut self.nodes[usize::from(index)])
    }

    /// Says whether nothing is left that must happen before time passes.
    pub fn is_quiet(&self) -> bool {
        self.requests.iter().all(|request| request.late) && !self.nodes.iter().any(|node| node.is_busy())
    }

    /// Lets a tick of true time pass. One clock may miss it, or count it twice.
    pub fn pass(&mut self, slip: Option<(u8, u16)>) {
        self.now += 1;
        for index in 0..self.nodes.len() {
            let own = slip.filter(|(node, _)| usize::from(*node) == index);
            let broken = Arc::make_mut(&mut self.nodes[index]).pass(own.map_or(1, |(_, ticks)| ticks));
            self.broken = self.broken.or(broken);
        }
    }

    /// The server serves a request. The answer arrives at once, unless it is `delayed` or nobody takes it.
    pub fn serve(&mut self, index: usize, delayed: bool) {
        let request = self.requests.remove(index);
        let server = self.server_of(request.desk);
        let before = server.stored.clone();
        let misled = request.desk == Desk::Lock && server.is_misled_by(&request.call);
        let outcome = if self.leases {
            self.server.serve_lease(&request.call, &request.ops)
        } else {
            self.server_of(request.desk).serve(&request.call)
        };
        self.killed |= outcome == Outcome::Deleted && request.desk == Desk::Session && request.from != 0;
        // A refusal shows nothing.
        let shows = !matches!(outcome, Outcome::Refused(_));
        let seen = if shows { self.server.leased.clone() } else { Seen::default() };
        if misled && matches!(outcome, Outcome::Applied(_)) {
            self.broken = Some(Promise::ReleaseIsItsOwn);
        }
        if matches!(outcome, Outcome::Applied(_) | Outcome::Deleted) {
            self.witness(request.desk, before.as_ref());
        }
        let desk = request.desk;
        match request.awaited {
            true if delayed || self.nodes[usize::from(request.from)].paused => {
                insert(&mut self.replies, Reply { to: request.from, desk, outcome, seen });
            }
            true => self.answer(request.from, desk, outcome, &seen),
            false => {}
        }
    }

    /// An answer that was on its way arrives.
    pub fn arrive(&mut self, index: usize) {
        let reply = self.replies.remove(index);
        self.answer(reply.to, reply.desk, reply.outcome, &reply.seen);
    }

    /// An engine learns what became of its call; whatever else was on its way about it is nobody's any more.
    pub fn answer(&mut self, index: u8, desk: Desk, outcome: Outcome, seen: &Seen) {
        self.abandon(index, desk);
        self.node(index).known.learn(seen);
        self.run(index, |node| match desk {
            Desk::Lock => node.step(Event::Reply(outcome)),
            Desk::Session => node.step_session(Glance::Reply(outcome)),
        });
    }

    fn server_of(&mut self, desk: Desk) -> &mut Server {
        match desk {
            Desk::Lock => &mut self.server,
            Desk::Session => &mut self.session,
        }
    }

    /// Lets an engine do something, and does what that asks for.
    pub fn run(&mut self, index: u8, act: impl FnOnce(&mut Node) -> Step) {
        let step = act(self.node(index));
        self.follow(index, step);
    }

    fn follow(&mut self, index: u8, step: Step) {
        self.broken = self.broken.or(step.broken);
        for token in step.tokens {
            if token <= self.token {
                self.broken = Some(Promise::TokensIncrease);
            }
            self.token = self.token.max(token);
            if (0..).zip(&self.nodes).any(|(other, node)| other != index && node.keeps()) {
                self.broken = Some(Promise::AtLeastIsKept);
            }
        }
        if step.opens {
            self.list(index);
        }
        if step.opens_session {
            let stored = self.session.stored.clone();
            self.node(index).side.list(stored.as_ref());
        }
        if let Some(call) = step.call {
            self.send(index, Desk::Lock, call);
        }
        if let Some(call) = step.of_session {
            self.send(index, Desk::Session, call);
        }
    }

    fn send(&mut self, from: u8, desk: Desk, call: Call) {
        let known = self.nodes[usize::from(from)].known.clone();
        match if self.leases { known.ops(&call, &self.server.leased) } else { Ok(Ops::default()) } {
            Ok(ops) => insert(&mut self.requests, Request { from, desk, call, awaited: true, late: false, ops }),
            // The store has looked.
            Err(refused) => {
                let newest = self.server.leased.clone();
                self.answer(from, desk, Outcome::Refused(refused), &newest);
            }
        }
    }

    /// The watch of an engine starts over.
    pub fn list(&mut self, index: u8) {
        let (stored, seen) = (self.server.stored.clone(), self.server.leased.clone());
        self.node(index).list(stored.as_ref(), &seen);
    }

    /// The watches of an engine start over: that of the lock, and that of the session.
    pub fn reopen(&mut self, index: u8) {
        self.list(index);
        let stored = self.session.stored.clone();
        self.node(index).side.list(stored.as_ref());
    }

    /// Counts the engines that have a guard which says held.
    pub fn holders(&self) -> usize {
        self.nodes.iter().filter(|node| node.holds()).count()
    }

    /// The object is deleted by hand.
    pub fn delete_by_hand(&mut self) {
        let before = self.server.stored.clone();
        self.server.remove();
        self.witness(Desk::Lock, before.as_ref());
    }

    /// A process dies and starts anew; what it has sent may still arrive.
    pub fn crash(&mut self, index: u8) {
        self.abandon(index, Desk::Lock);
        self.abandon(index, Desk::Session);
        self.node(index).crash();
    }

    /// Shows every watch what has become of the object.
    pub(crate) fn witness(&mut self, desk: Desk, before: Option<&Snapshot>) {
        if desk == Desk::Session {
            let (after, version) = (self.session.stored.clone(), self.session.version);
            let sides = self.nodes.iter_mut().map(|node| &mut Arc::make_mut(node).side);
            return sides.for_each(|side| side.witness(before, after.as_ref(), version));
        }
        let (after, version, seen) = (self.server.stored.clone(), self.server.version, self.server.leased.clone());
        for index in 0..self.nodes.len() {
            Arc::make_mut(&mut self.nodes[index]).witness(before, after.as_ref(), version, &seen);
        }
    }

    /// Marks what is on its way about a call that nobody awaits any more. A read of that kind changes nothing.
    fn abandon(&mut self, index: u8, desk: Desk) {
        let is_of = |request: &Request| (request.from, request.desk) == (index, desk);
        self.replies.retain(|reply| (reply.to, reply.desk) != (index, desk));
        self.requests.retain(|request| !is_of(request) || request.call != Call::Read);
        for request in self.requests.iter_mut().filter(|request| is_of(request)) {
            (request.awaited, request.late) = (false, true);
        }
        self.requests.sort();
        self.requests.dedup();
    }
}

fn insert<T: Ord>(set: &mut Vec<T>, item: T) {
    let place = set.partition_point(|other| *other < item);
    set.insert(place, item);
}
