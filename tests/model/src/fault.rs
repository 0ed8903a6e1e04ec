//! What goes wrong, and what it costs.

use crate::{Budget, Guard, Request, World};

/// One thing that goes wrong. Numbers are those of an engine or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A request is delayed; one that is never served is lost.
    Delay(usize),
    /// A request is served, and its answer is delayed.
    ServeMutely(usize),
    /// A request will be applied a second time, late.
    Double(usize),
    /// A watch falls silent.
    Stall(u8),
    /// A process stops running.
    Pause(u8),
    /// A process dies and starts anew.
    Crash(u8),
    /// A user stops to poll the future of its acquisition.
    Neglect(u8, Guard),
    /// The object is deleted by hand.
    DeleteByHand,
    /// A tick passes, and one clock misses it.
    Slow(u8),
    /// A tick passes, and one clock counts it twice.
    Fast(u8),
}

// === impl Fault ===

impl Fault {
    /// Says whether this may still happen in a run.
    pub fn is_affordable(self, budget: Budget) -> bool {
        budget.spend(|budget| self.cost(budget)).is_some()
    }

    /// Lets it happen; `None` when the budget has none left.
    pub fn strike(self, world: &mut World) -> Option<()> {
        world.budget = world.budget.spend(|budget| self.cost(budget))?;
        match self {
            Self::Delay(index) => {
                world.requests[index].late = true;
                world.requests.sort();
            }
            Self::ServeMutely(index) => world.serve(index, true),
            Self::Double(index) => {
                let copy = Request { late: true, ..world.requests[index].clone() };
                world.requests.push(copy);
                world.requests.sort();
            }
            Self::Stall(index) => world.node(index).stalled = true,
            Self::Pause(index) => world.node(index).paused = true,
            Self::Crash(index) => world.crash(index),
            Self::Neglect(index, guard) => world.node(index).neglect(guard),
            Self::DeleteByHand => world.delete_by_hand(),
            Self::Slow(index) => world.pass(Some((index, 0))),
            Self::Fast(index) => world.pass(Some((index, 2))),
        }
        Some(())
    }

    fn cost(self, budget: &mut Budget) -> &mut u8 {
        match self {
            Self::Delay(_) | Self::ServeMutely(_) => &mut budget.late,
            Self::Double(_) => &mut budget.twice,
            Self::Stall(_) => &mut budget.stalls,
            Self::Pause(_) => &mut budget.pauses,
            Self::Crash(_) => &mut budget.crashes,
            Self::Neglect(..) => &mut budget.neglects,
            Self::DeleteByHand => &mut budget.deletions,
            Self::Slow(_) | Self::Fast(_) => &mut budget.slips,
        }
    }
}
