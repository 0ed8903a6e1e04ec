//! Which faults strike which crew, in which order: all of them in every pass, shuffled by the seed.

use tests::{dice::Dice, proxy::Direction};

use crate::{
    Size,
    crew::Trade,
    fault::{EDITS, Fault, Loss, Role, Write},
};

/// The crews of a server.
pub(crate) const CREWS: [(Trade, &str); 5] = [
    (Trade::Lock, "lock-a"),
    (Trade::Lock, "lock-b"),
    (Trade::Election, "election"),
    (Trade::Clocks, "clocks"),
    (Trade::Edited, "edited"),
];

/// What happens to the server, with all its crews.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// kill -9, and started again at once.
    Killed,
    /// kill -9, and started again when every hold is over.
    Down,
    /// SIGSTOP for a moment.
    Frozen,
    /// SIGSTOP past every ttl.
    LongFrozen,
}

/// What each server goes through in one pass.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// For each crew.
    pub(crate) faults: [Vec<Fault>; CREWS.len()],
    pub(crate) outages: Vec<Outage>,
}

/// Faults that any crew of so many bears.
fn for_any(crew: usize, dice: &mut Dice) -> Vec<Fault> {
    use Direction::{ToClient, ToServer};
    let (first, middle, last) = (Role::Waiter(0), Role::Waiter((crew - 1) / 2), Role::Waiter(crew - 2));
    let mut faults = vec![Fault::Kill(Role::Holder)];
    faults.extend((0..crew - 1).map(|place| Fault::Kill(Role::Waiter(place))));
    faults.extend([Role::Holder, first, Role::Waiter(1), middle, last].map(Fault::Freeze));
    faults.extend([Role::Holder, first, last].map(Fault::Reset));
    faults.extend([Fault::Cut(Role::Holder, ToServer), Fault::Cut(first, ToClient)]);
    for role in [Role::Holder, first] {
        faults.extend([ToServer, ToClient].map(|direction| Fault::Blackhole(role, direction)));
        faults.extend([Fault::Delay(role), Fault::Crawl(role), Fault::Refuse(role), Fault::Swallow(role)]);
    }
    for write in [Write::Claim, Write::Enqueue, Write::Renew, Write::Grant] {
        faults.extend([Loss::Dropped, other(dice)].map(|loss| Fault::Meddle(write, loss)));
    }
    for status in [429, 503] {
        faults.extend([Fault::Storm(status, Role::Holder), Fault::Storm(status, first), Fault::Tempest(status)]);
    }
    faults
}

fn other(dice: &mut Dice) -> Loss {
    *dice.pick(&[Loss::Broken, Loss::Late, Loss::Zombie])
}

/// Faults that only crews of this trade bear.
fn for_trade(trade: Trade, dice: &mut Dice) -> Vec<Fault> {
    let mut both = |write| [Loss::Dropped, other(dice)].map(|loss| Fault::Meddle(write, loss));
    match trade {
        Trade::Lock => [Write::Create, Write::Delete, Write::Leave].map(both).concat(),
        Trade::Election => [both(Write::Accept), both(Write::Free)].concat(),
        Trade::Clocks => {
            let (hour, day) = (3600, 24 * 3600);
            vec![Fault::Wall(Role::Holder, hour), Fault::Wall(Role::Waiter(0), 30 * day), Fault::Walls(hour)]
        }
        Trade::Edited => {
            let mut faults = vec![Fault::Delete, Fault::Remake, Fault::Delete, Fault::Remake];
            faults.extend((0..EDITS).map(Fault::Edit));
            faults
        }
    }
}

/// Deals all faults to the crews of so many servers.
pub(crate) fn deal(servers: usize, size: Size, dice: &mut Dice) -> Vec<Plan> {
    let mut plans: Vec<_> = (0..servers).map(|_| Plan::default()).collect();
    let give = |plans: &mut Vec<Plan>, faults: Vec<Fault>, crews: &[usize], dice: &mut Dice| {
        let mut faults = faults;
        dice.shuffle(&mut faults);
        for (number, fault) in faults.into_iter().enumerate() {
            let (server, crew) = (number % servers, number / servers % crews.len());
            plans[server].faults[crews[crew]].push(fault);
        }
    };
    for trade in [Trade::Lock, Trade::Election, Trade::Clocks, Trade::Edited] {
        let crews: Vec<_> = (0..CREWS.len()).filter(|crew| CREWS[*crew].0 == trade).collect();
        let faults = for_trade(trade, dice);
        give(&mut plans, faults, &crews, dice);
    }
    let safe: Vec<_> = (0..CREWS.len()).filter(|crew| CREWS[*crew].0 != Trade::Edited).collect();
    let faults = for_any(size.crew, dice);
    give(&mut plans, faults, &safe, dice);
    let mut outages = [Outage::Killed, Outage::Down, Outage::Frozen, Outage::LongFrozen];
    dice.shuffle(&mut outages);
    for (number, outage) in outages.into_iter().enumerate() {
        plans[number % servers].outages.push(outage);
    }
    for faults in plans.iter_mut().flat_map(|plan| &mut plan.faults) {
        dice.shuffle(faults);
    }
    plans
}
