//! What is held may be taken through `catch_unwind`: a panic elsewhere leaves nothing half done.
//!
//! What the types share is behind mutexes that are never left in the middle of a change, channels, and clocks; only because of
//! the trait objects among it the compiler does not say so itself.

use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::{
    Candidate, Client, Election, Leaders, Leadership, Lease, LeaseSet, Lock, LockGuard, LockSet, LockSetGuard, Lost,
};

macro_rules! unwind_safe {
    ($($held:ty),*) => {$(
        impl UnwindSafe for $held {}
        impl RefUnwindSafe for $held {}
    )*};
}

unwind_safe!(Candidate, Client, Election, Leadership, Lease, LeaseSet, Lock, LockGuard, LockSet, LockSetGuard);
// A future and a stream that have panicked are not to be polled again, and may be dropped.
impl UnwindSafe for Lost {}
impl UnwindSafe for Leaders {}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::MemoryStore;

    fn is_safe<T: UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn what_is_held_may_be_taken_through_a_panic() {
        is_safe::<(Client, Lock, LockGuard, LockSet, LockSetGuard)>();
        is_safe::<(Election, Leadership, Candidate, Lease, LeaseSet, MemoryStore)>();
    }

    #[tokio::test]
    async fn a_guard_that_was_there_at_a_panic_holds_and_is_released() {
        let store = MemoryStore::new();
        let client = Client::builder().memory(&store).build();
        let guard = client.lock("job").unwrap().acquire().await.unwrap();
        let caught = catch_unwind(|| {
            guard.check().unwrap();
            panic!("somewhere else");
        });
        assert!(caught.is_err());
        guard.check().expect("it goes on");
        guard.release().await.unwrap();
        assert!(client.lock("job").unwrap().try_acquire().await.unwrap().is_some());
    }
}
