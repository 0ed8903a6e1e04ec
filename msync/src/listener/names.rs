//! What stands for a lock in figures: said by its user, else its name, as long as there are few.

use std::collections::HashSet;

use super::Subject;
use crate::LockName;

/// So many names stand for themselves; each label is a series that somebody's Prometheus keeps for weeks.
const MOST_NAMES: usize = 100;

/// What stands for all names beyond [`MOST_NAMES`].
const OTHER: &str = "other";

/// Which names stand for themselves.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<LockName>);

// === impl Names ===

impl Names {
    /// Returns what stands for a lock in figures.
    pub(super) fn stand_for<'a>(&mut self, subject: &Subject<'a>) -> &'a str {
        if let Some(label) = subject.label {
            return label;
        }
        if !self.0.contains(subject.name) {
            if self.0.len() >= MOST_NAMES {
                return OTHER;
            }
            self.0.insert(subject.name.clone());
        }
        subject.name.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(name: &'a LockName, label: Option<&'a str>) -> Subject<'a> {
        Subject { name, label, election: false, uid: None }
    }

    #[test]
    fn a_hundred_names_stand_for_themselves_and_the_rest_for_others() {
        let mut names = Names::default();
        let all: Vec<_> = (0..102).map(|number| LockName::of(&format!("job-{number}")).unwrap()).collect();
        let told: Vec<_> = all.iter().map(|name| names.stand_for(&subject(name, None)).to_owned()).collect();
        assert_eq!((&*told[0], &*told[99], &*told[100], &*told[101]), ("job-0", "job-99", "other", "other"));
        assert_eq!(names.stand_for(&subject(&all[7], None)), "job-7", "one that was there stays");
    }

    #[test]
    fn a_label_stands_for_any_number_of_names_and_takes_no_room() {
        let mut names = Names::default();
        for number in 0..1_000 {
            let name = LockName::of(&format!("job-{number}")).unwrap();
            assert_eq!(names.stand_for(&subject(&name, Some("job-{n}"))), "job-{n}");
        }
        assert!(names.0.is_empty());
    }
}
