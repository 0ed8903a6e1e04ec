//! The promises that are checked in every state, and what every plan must be able to reach to be worth anything.

use msync::unstable::{
    protocol::Call,
    record::{Change, leased::Holder},
    store::Snapshot,
};
use stateright::Property;

use crate::{Desk, Lab, Origin, Phase, Request, World};

/// A promise of the protocol that a transition can break; S2 is not among them, since it is read off a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// S1: each acquisition's token is greater than every earlier one.
    TokensIncrease,
    /// S4: what was lost is never held or renewed again.
    LostIsFinal,
    /// S5: a release changes only its own term.
    ReleaseIsItsOwn,
    /// S6: nothing is renewed that nobody wants.
    OnlyWantedIsRenewed,
    /// S8: what is to be kept at least is nobody else's, over a shutdown in good order too.
    AtLeastIsKept,
    /// S2 on a Lease: a stranger that keeps to the Lease does not begin while an engine holds.
    NobodyElseBegins,
}

/// A situation that some run of a plan must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A term that showed no life is taken over.
    TakeOver,
    /// A guard is lost.
    Loss,
    /// The lock is granted to an engine that is no more.
    DeadWaiter,
    /// A future has the lock and is not polled.
    Untaken,
    /// The record is a reservation, of a process that has ended.
    Reserved,
    /// The lock is handed on three times in a row.
    ChainOfThree,
    /// Two guards say held: what a deletion by hand leads to.
    TwoHolders,
    /// A token is not greater than an earlier one: what a deletion by hand leads to.
    OldToken,
    /// A stranger leads.
    Strange,
    /// An engine was wiped out by the release of a stranger.
    Wiped,
    /// A lock stands under a session, and its engine's guard says held.
    Sheltered,
    /// A session was removed by another engine, and a lock that stood under it taken over.
    Killed,
    /// A beat of a session and its removal by another are on their way at once.
    KillAndBeat,
    /// A write that puts the lock under its session, or leads it out, is on its way when the session is gone.
    Stranded,
}

// === impl Reach ===

impl Reach {
    /// Makes it a property that some state must have.
    pub fn property(self) -> Property<Lab> {
        match self {
            Self::TakeOver => {
                Property::sometimes("take-over", |_, world: &World| world.server.origin == Origin::TookOver)
            }
            Self::Loss => Property::sometimes("loss", |_, world: &World| has_loss(world)),
            Self::DeadWaiter => {
                Property::sometimes("grant to a dead waiter", |_, world: &World| has_dead_grantee(world))
            }
            Self::Untaken => Property::sometimes("a lock that nobody takes", |_, world: &World| {
                let untaken = |phase: Phase| matches!(phase, Phase::Offered(_));
                world.nodes.iter().flat_map(|node| &node.guards).any(|guard| untaken(guard.phase))
            }),
            Self::Reserved => Property::sometimes("a reservation of nobody", |_, world: &World| {
                let reserved = world.server.stored.as_ref().is_some_and(|stored| stored.record.is_reserved());
                reserved && world.nodes.iter().any(|node| node.keeps() && node.keeper.is_idle())
            }),
            Self::ChainOfThree => Property::sometimes("hand-off chain of three", |_, world: &World| {
                world.server.origin == Origin::Granted(3)
            }),
            Self::Strange => Property::sometimes("a stranger leads", |_, world: &World| world.stranger.leads),
            Self::Wiped => Property::sometimes("an engine is wiped out", |_, world: &World| {
                let leased = world.server.leased.0.as_ref();
                leased.is_some_and(|leased| leased.holder() == Holder::Wiped) && world.holders() > 0
            }),
            Self::Sheltered => Property::sometimes("a lock under a session", |_, world: &World| {
                let under = |stored: &Snapshot| !stored.record.under.is_none();
                world.server.stored.as_ref().is_some_and(under) && world.nodes[0].holds()
            }),
            Self::Killed => Property::sometimes("a session is killed and its lock taken over", |_, world: &World| {
                world.killed && world.server.origin == Origin::TookOver
            }),
            Self::KillAndBeat => Property::sometimes("a kill races a beat", |_, world: &World| {
                let mut about = world.requests.iter().filter(|request| request.desk == Desk::Session);
                let (kills, beats) =
                    (|r: &Request| matches!(r.call, Call::Delete(_)), |r: &Request| is_renewal(&r.call));
                about.clone().any(kills) && about.any(beats)
            }),
            Self::Stranded => {
                Property::sometimes("a move is on its way and the session is gone", |_, world: &World| {
                    let moves = |request: &Request| {
                        request.desk == Desk::Lock && request.from == 0 && is_renewal(&request.call)
                    };
                    world.session.stored.is_none() && world.requests.iter().any(moves)
                })
            }
            Self::TwoHolders => Property::sometimes("two holders", |_, world: &World| world.holders() > 1),
            Self::OldToken => {
                Property::sometimes("an old token", |_, world: &World| world.broken == Some(Promise::TokensIncrease))
            }
        }
    }
}

fn is_renewal(call: &Call) -> bool {
    matches!(call, Call::Apply(Change::Renew { .. }))
}

fn has_loss(world: &World) -> bool {
    world.nodes.iter().flat_map(|node| &node.guards).any(|guard| guard.phase == Phase::Lost)
}

fn has_dead_grantee(world: &World) -> bool {
    let Some(stored) = &world.server.stored else { return false };
    let granted = stored.record.renewals == 0 && !stored.record.is_free();
    granted && !world.nodes.iter().any(|node| node.is(&stored.record.engine))
}
