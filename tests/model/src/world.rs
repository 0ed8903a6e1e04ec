//! A state of the model: the server, the engines, and what is on its way between them.

use std::sync::Arc;

use msync::unstable::{
    protocol::{Call, Event, Outcome},
    store::Snapshot,
};

use crate::{Budget, Node, Ops, Plan, Promise, Seen, Server, Step, Stranger};

/// A call on its way to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// Which engine sent it.
    pub from: u8,
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
    /// The server.
    pub server: Server,
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
        let nodes = (0..).zip(&plan.peers).map(|(index, peer)| Arc::new(Node::new(index, peer)));
        Self {
            now: 0,
            server: Server::default(),
            nodes: nodes.collect(),
            requests: Vec::new(),
            replies: Vec::new(),
            budget: plan.budget,
            token: 0,
            leases: plan.leases,
            stranger: Stranger::default(),
            broken: None,
        }
    }

    /// Returns an engine, to be changed.
    pub fn node(&mut self, index: u8) -> &mut Node {
        Arc::make_mut(&mut self.nodes[usize::from(index)])
    }

    /// Says whether nothing is left that must happen before time passes.
    pub fn is_quiet(&self) -> bool {
        let busy = |node: &Arc<Node>| node.is_due() || node.is_out_of_time() || node.must_look();
        self.requests.iter().all(|request| request.late) && !self.nodes.iter().any(busy)
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
        let before = self.server.stored.clone();
        let misled = self.server.is_misled_by(&request.call);
        let outcome = if self.leases {
            self.server.serve_lease(&request.call, &request.ops)
        } else {
            self.server.serve(&request.call)
        };
        // A refusal shows nothing.
        let shows = !matches!(outcome, Outcome::Refused(_));
        let seen = if shows { self.server.leased.clone() } else { Seen::default() };
        if misled && matches!(outcome, Outcome::Applied(_)) {
            self.broken = Some(Promise::ReleaseIsItsOwn);
        }
        if matches!(outcome, Outcome::Applied(_) | Outcome::Deleted) {
            self.witness(before.as_ref());
        }
        match request.awaited {
            true if delayed || self.nodes[usize::from(request.from)].paused => {
                insert(&mut self.replies, Reply { to: request.from, outcome, seen });
            }
            true => self.answer(request.from, outcome, &seen),
            false => {}
        }
    }

    /// An answer that was on its way arrives.
    pub fn arrive(&mut self, index: usize) {
        let reply = self.replies.remove(index);
        self.answer(reply.to, reply.outcome, &reply.seen);
    }

    /// An engine learns what became of its call; whatever else was on its way about it is nobody's any more.
    pub fn answer(&mut self, index: u8, outcome: Outcome, seen: &Seen) {
        self.abandon(index);
        self.node(index).known.learn(seen);
        self.run(index, |node| node.step(Event::Reply(outcome)));
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
        if let Some(call) = step.call {
            self.send(index, call);
        }
    }

    fn send(&mut self, from: u8, call: Call) {
        let known = self.nodes[usize::from(from)].known.clone();
        match if self.leases { known.ops(&call, &self.server.leased) } else { Ok(Ops::default()) } {
            Ok(ops) => insert(&mut self.requests, Request { from, call, awaited: true, late: false, ops }),
            // The store has looked.
            Err(refused) => {
                let newest = self.server.leased.clone();
                self.answer(from, Outcome::Refused(refused), &newest);
            }
        }
    }

    /// The watch of an engine starts over.
    pub fn list(&mut self, index: u8) {
        let (stored, seen) = (self.server.stored.clone(), self.server.leased.clone());
        self.node(index).list(stored.as_ref(), &seen);
    }

    /// Counts the engines that have a guard which says held.
    pub fn holders(&self) -> usize {
        self.nodes.iter().filter(|node| node.holds()).count()
    }

    /// The object is deleted by hand.
    pub fn delete_by_hand(&mut self) {
        let before = self.server.stored.clone();
        self.server.remove();
        self.witness(before.as_ref());
    }

    /// A process dies and starts anew; what it has sent may still arrive.
    pub fn crash(&mut self, index: u8) {
        self.abandon(index);
        self.node(index).crash();
    }

    /// Shows every watch what has become of the object.
    pub(crate) fn witness(&mut self, before: Option<&Snapshot>) {
        let (after, version, seen) = (self.server.stored.clone(), self.server.version, self.server.leased.clone());
        for index in 0..self.nodes.len() {
            Arc::make_mut(&mut self.nodes[index]).witness(before, after.as_ref(), version, &seen);
        }
    }

    /// Marks what is on its way about a call that nobody awaits any more. A read of that kind changes nothing.
    fn abandon(&mut self, index: u8) {
        self.replies.retain(|reply| reply.to != index);
        self.requests.retain(|request| request.from != index || request.call != Call::Read);
        for request in self.requests.iter_mut().filter(|request| request.from == index) {
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
