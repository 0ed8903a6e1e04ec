//! The task of one driver on msync's own thread, at which whoever has just written to it lends a hand.
//!
//! If only that thread ran it, a lock that goes from one task of a process to the next would wake two threads each time: 50,000
//! hand-overs a second instead of 200,000. So whoever has left a message polls the driver himself, unless somebody does
//! already. Whatever the driver waits for wakes the own thread as ever, so nothing depends on the helper; and the own thread
//! never waits for one.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{future::BoxFuture, task::AtomicWaker};

use crate::{clock::Home, runtime};

/// How often a helper polls before it leaves the rest to the own thread: a call to a store that answers at once takes three.
const MOST_POLLS: u32 = 8;

/// A driver that runs.
pub(super) struct Task {
    /// None when it has ended.
    driver: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Somebody lends a hand, now or in a moment, and looks at `again` when he has done.
    helped: AtomicBool,
    /// The driver was woken meanwhile.
    again: AtomicBool,
    /// The own thread has it: from the first time that something wakes it which nobody lends a hand for.
    attended: AtomicBool,
    /// Wakes the own thread.
    own: AtomicWaker,
}

/// A hand that is lent: what is written to the driver before this is dropped wakes nobody, and is seen to by the drop.
/// Not to be dropped under a mutex that a driver takes.
pub(super) struct Hand(Arc<Task>);

// === impl Task ===

impl Task {
    pub(super) fn new(driver: BoxFuture<'static, ()>) -> Arc<Self> {
        let [helped, again, attended] = [const { AtomicBool::new(false) }; 3];
        Arc::new(Self { driver: Mutex::new(Some(driver)), helped, again, attended, own: AtomicWaker::new() })
    }

    /// Lends a hand, unless somebody does already. The first hand begins the driver.
    pub(super) fn lend(self: &Arc<Self>) -> Option<Hand> {
        (!self.helped.swap(true, SeqCst)).then(|| Hand(Arc::clone(self)))
    }

    fn wake_own(self: &Arc<Self>) {
        if self.attended.swap(true, SeqCst) {
            self.own.wake();
        } else {
            let task = Arc::clone(self);
            runtime::spawn(Home::Own, poll_fn(move |cx| task.poll_on_own(cx)));
        }
    }

    fn poll_on_own(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.own.register(cx.waker());
        if let Some(polled) = self.try_poll() {
            return polled;
        }
        // Somebody else polls it, and may not have seen what this was woken for.
        self.again.store(true, SeqCst);
        if !self.helped.load(SeqCst) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn help(self: &Arc<Self>) {
        let mut ended = false;
        runtime::within(Home::Own, || {
            for _ in 0..MOST_POLLS {
                self.again.store(false, SeqCst);
                let polled = self.try_poll();
                ended = polled == Some(Poll::Ready(()));
                if polled.is_none() {
                    self.again.store(true, SeqCst); // the own thread may have looked before the message was there
                }
                if ended || polled.is_none() || !self.again.load(SeqCst) {
                    break;
                }
            }
        });
        self.helped.store(false, SeqCst);
        if self.again.swap(false, SeqCst) && !ended {
            self.wake_own();
        } else if ended {
            self.own.wake(); // its part ends, too, if it has one
        }
    }

    /// Polls the driver; `None` if somebody does so already.
    fn try_poll(self: &Arc<Self>) -> Option<Poll<()>> {
        let mut driver = match self.driver.try_lock() {
            Ok(driver) => driver,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let Some(running) = driver.as_mut() else { return Some(Poll::Ready(())) };
        let waker = Waker::from(Arc::clone(self));
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
        // A driver that panicked is dropped like one whose runtime has ended, and tells its guards.
        let ended = polled.unwrap_or(Poll::Ready(()));
        if ended.is_ready() {
            *driver = None;
        }
        Some(ended)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, SeqCst);
        if !self.helped.load(SeqCst) {
            self.wake_own();
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.0.help();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn task(driver: impl Future<Output = ()> + Send + 'static) -> Arc<Task> {
        Task::new(Box::pin(driver))
    }

    #[test]
    fn whoever_writes_polls_the_driver_himself() {
        let ((messages, mut inbox), (told, tell)) = (unbounded_channel(), mpsc::channel());
        let task = task(async move {
            while let Some(()) = inbox.recv().await {
                let _ = told.send(thread::current().id());
            }
        });
        for _ in 0..3 {
            let hand = task.lend();
            assert!(task.lend().is_none(), "one at a time");
            messages.send(()).unwrap();
            drop(hand);
            assert_eq!(tell.try_recv(), Ok(thread::current().id()));
        }
        assert!(!task.attended.load(SeqCst), "nothing has woken the own thread");
    }

    #[test]
    fn what_the_driver_waits_for_wakes_the_own_thread() {
        let (told, tell) = mpsc::channel();
        let task = task(async move {
            runtime::sleep(Duration::from_millis(1)).await;
            told.send(thread::current().id()).unwrap();
        });
        drop(task.lend());
        assert_ne!(tell.recv_timeout(LIMIT).expect("woken"), thread::current().id());
    }

    /// The hands, the own thread and a driver that yields, all at once.
    #[test]
    fn no_message_is_lost_between_many_writers() {
        const EACH: usize = 5_000;
        let ((messages, mut inbox), (told, tell)) = (unbounded_channel(), mpsc::channel());
        let task = task(async move {
            for message in 0..4 * EACH {
                inbox.recv().await.unwrap();
                if message % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            told.send(()).unwrap();
        });
        let write = |helps: bool| {
            let (messages, task) = (messages.clone(), Arc::clone(&task));
            move || {
                for _ in 0..EACH {
                    let _helps = helps.then(|| task.lend());
                    messages.send(()).unwrap();
                }
            }
        };
        let writers = [true, true, true, false].map(|helps| thread::spawn(write(helps)));
        for writer in writers {
            writer.join().unwrap();
        }
        drop(task.lend()); // the one that never helps may have been the first
        tell.recv_timeout(LIMIT).expect("all messages were read");
    }

    #[test]
    fn a_driver_that_panics_is_dropped_and_its_helper_lives() {
        let (kept, dropped) = mpsc::channel::<()>();
        let task = task(async move {
            let _kept = kept;
            panic!("on purpose");
        });
        drop(task.lend());
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        drop(task.lend());
    }
}
