//! What can happen in a state, and what must hold in every one.

use std::sync::Arc;

use msync::unstable::protocol::{Call, Event, Glance, Outcome};
use stateright::{Model, Property};

use crate::{Desk, Fault, Guard, Node, Peer, Phase, Plan, Promise, Seen, World};

/// One thing that happens. Numbers are those of an engine, a request or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A request is served, and its answer arrives at once.
    Serve(usize),
    /// A late answer arrives.
    Arrive(usize),
    /// A call has taken too long.
    GiveUp(u8),
    /// A timer goes off.
    Tick(u8),
    /// A watch shows its next event.
    Look(u8),
    /// The same about the session: a call, a timer, a watch.
    GiveUpSession(u8),
    /// See above.
    TickSession(u8),
    /// See above.
    LookSession(u8),
    /// A user wants more time.
    Prolong(u8, Guard),
    /// A silent watch starts over.
    Reopen(u8),
    /// A process that stood still runs again.
    Resume(u8),
    /// A user begins an acquisition.
    Want(u8),
    /// A user drops its guard, or gives up waiting.
    End(u8, Guard),
    /// A user polls its future again.
    Poll(u8, Guard),
    /// A client is shut down in good order.
    Close(u8),
    /// The stranger looks at the Lease, and takes what it may.
    StrangerLooks,
    /// The stranger gives back what it believes to have.
    StrangerReleases,
    /// A tick of true time passes.
    Pass,
    /// Something goes wrong.
    Fail(Fault),
}

/// The model of one plan.
#[derive(Clone, Debug)]
pub struct Lab {
    /// What is explored.
    pub plan: Plan,
}

// === impl Lab ===

impl Model for Lab {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.plan)]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if world.broken.is_some() {
            return;
        }
        network(world, acts);
        for (index, node) in (0..).zip(&world.nodes) {
            self.process(world, index, node, acts);
        }
        if self.plan.leases && world.stranger_may_act() {
            acts.push(Act::StrangerLooks);
        }
        if world.stranger.leads && world.budget.releases > 0 {
            acts.push(Act::StrangerReleases);
        }
        let mut faults = faults(world);
        if world.now < self.plan.ticks && world.is_quiet() && !self.is_eager(world) {
            acts.push(Act::Pass);
            faults.extend((0..).zip(&world.nodes).flat_map(|(index, _)| [Fault::Slow(index), Fault::Fast(index)]));
        }
        acts.extend(faults.into_iter().filter(|fault| fault.is_affordable(world.budget)).map(Act::Fail));
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        match act {
            Act::Serve(index) => next.serve(index, false),
            Act::Arrive(index) => next.arrive(index),
            Act::StrangerLooks => next.stranger_looks(),
            Act::StrangerReleases => {
                next.budget.releases -= 1;
                next.stranger_releases();
            }
            Act::GiveUp(index) => next.answer(index, Desk::Lock, Outcome::Unknown, &Seen::default()),
            Act::GiveUpSession(index) => next.answer(index, Desk::Session, Outcome::Unknown, &Seen::default()),
            Act::TickSession(index) => next.run(index, |node| node.step_session(Glance::Tick)),
            Act::LookSession(index) => next.run(index, Node::look_at_session),
            Act::Prolong(index, guard) => {
                next.budget.prolongs -= 1;
                next.run(index, |node| node.prolong(guard));
            }
            Act::Pass => next.pass(None),
            Act::Fail(fault) => fault.strike(&mut next)?,
            Act::Resume(index) => next.node(index).paused = false,
            Act::Reopen(index) => next.reopen(index),
            Act::Tick(index) => next.run(index, |node| node.step(Event::Tick)),
            Act::Look(index) => next.run(index, Node::look),
            Act::Want(index) => next.run(index, |node| node.want(&self.plan.peers[usize::from(index)])),
            Act::Poll(index, guard) => next.run(index, |node| node.poll(guard)),
            Act::Close(index) => {
                next.budget.shutdowns -= 1;
                next.run(index, Node::close);
            }
            Act::End(index, guard) => {
                next.budget.cancels -= u8::from(is_cancelled(guard));
                next.run(index, |node| node.end(guard));
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = always();
        if self.plan.leases {
            all.push(Property::always("S2 a stranger does not begin while an engine holds", |_, world: &World| {
                kept(world, Promise::NobodyElseBegins)
            }));
        }
        if self.plan.budget.deletions == 0 {
            all.push(Property::always("S1 tokens increase", |_, world: &World| kept(world, Promise::TokensIncrease)));
            all.push(Property::always("S2 at most one holds", |_, world: &World| world.holders() <= 1));
        }
        all.extend(self.plan.reaches.iter().map(|reach| reach.property()));
        all
    }
}

impl Lab {
    /// Says whether users want something before any more time passes.
    fn is_eager(&self, world: &World) -> bool {
        let wants = |(node, peer): (&Arc<Node>, &Peer)| !node.paused && node.may_want(peer);
        world.now >= self.plan.leisure && world.nodes.iter().zip(&self.plan.peers).any(wants)
    }

    fn process(&self, world: &World, index: u8, node: &Node, acts: &mut Vec<Act>) {
        if node.paused {
            return acts.push(Act::Resume(index));
        }
        let peer = &self.plan.peers[usize::from(index)];
        let can = [
            (node.is_due(), Act::Tick(index)),
            (node.is_out_of_time(), Act::GiveUp(index)),
            (!node.sightings.is_empty(), Act::Look(index)),
            (node.is_session_due(), Act::TickSession(index)),
            (node.is_session_out_of_time(), Act::GiveUpSession(index)),
            (!node.side.sightings.is_empty(), Act::LookSession(index)),
            (node.stalled, Act::Reopen(index)),
            (node.may_want(peer), Act::Want(index)),
            (world.budget.shutdowns > 0 && node.may_close(), Act::Close(index)),
        ];
        acts.extend(can.into_iter().filter(|(can, _)| *can).map(|(_, act)| act));
        let may_prolong = |guard: &&Guard| guard.phase == Phase::Held && world.budget.prolongs > 0;
        acts.extend(node.guards.iter().filter(may_prolong).map(|guard| Act::Prolong(index, *guard)));
        let stays = |guard: &Guard| peer.stays && guard.phase == Phase::Held;
        let may_end = |guard: &&Guard| !stays(guard) && (!is_cancelled(**guard) || world.budget.cancels > 0);
        acts.extend(node.guards.iter().filter(may_end).map(|guard| Act::End(index, *guard)));
        acts.extend(node.guards.iter().filter(|guard| !guard.polled).map(|guard| Act::Poll(index, *guard)));
    }
}

/// Says whether the end of an acquisition is one that never had a guard.
fn is_cancelled(guard: Guard) -> bool {
    matches!(guard.phase, Phase::Waiting | Phase::Offered(_))
}

fn network(world: &World, acts: &mut Vec<Act>) {
    acts.extend((0..world.requests.len()).map(Act::Serve));
    for (index, reply) in world.replies.iter().enumerate() {
        if !world.nodes[usize::from(reply.to)].paused {
            acts.push(Act::Arrive(index));
        }
    }
}

/// Lists what can go wrong while no time passes. A process that stops, or a watch that falls silent, does so when it would
/// next have done something: nobody could tell an earlier stop from that.
fn faults(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, request) in world.requests.iter().enumerate() {
        if request.awaited {
            faults.push(Fault::ServeMutely(index));
        }
        if !request.late {
            faults.push(Fault::Delay(index));
        }
        if !request.late && request.call != Call::Read {
            faults.push(Fault::Double(index));
        }
    }
    for (index, node) in (0..).zip(&world.nodes).filter(|(_, node)| !node.paused) {
        let awaits = world.requests.iter().any(|request| request.from == index && request.awaited);
        if awaits || node.is_busy() {
            faults.extend([Fault::Pause(index), Fault::Crash(index)]);
        }
        if node.must_look() {
            faults.push(Fault::Stall(index));
        }
        let waits = |guard: &&Guard| guard.polled && guard.phase == Phase::Waiting;
        faults.extend(node.guards.iter().filter(waits).map(|guard| Fault::Neglect(index, *guard)));
    }
    faults.extend(world.server.stored.as_ref().map(|_| Fault::DeleteByHand));
    faults
}

fn always() -> Vec<Property<Lab>> {
    vec![
        Property::always("S4 lost is final", |_, world: &World| kept(world, Promise::LostIsFinal)),
        Property::always("S5 a release changes only its own term", |_, world: &World| {
            kept(world, Promise::ReleaseIsItsOwn)
        }),
        Property::always("S6 nothing unwanted is renewed", |_, world: &World| {
            kept(world, Promise::OnlyWantedIsRenewed)
        }),
        Property::always("S8 what is to be kept is nobody else's", |_, world: &World| {
            kept(world, Promise::AtLeastIsKept)
        }),
    ]
}

fn kept(world: &World, promise: Promise) -> bool {
    world.broken != Some(promise)
}
