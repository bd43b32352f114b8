//! What is read without a lock, tried in every order that the memory model allows: the files of the library
//! compiled with loom's atomics. What they lean on and loom cannot compile, a lock or tokio's `Notify`, is
//! rebuilt here in a few lines.
#![allow(dead_code, unreachable_pub)]

#[path = "../src/context/slot/poll_word.rs"]
mod poll_word;
#[path = "../src/stop.rs"]
mod stop;
#[path = "../src/context/slot/stop_word.rs"]
mod stop_word;

/// In place of the library's own.
mod sync {
    pub(crate) use loom::sync::atomic::Ordering;

    #[derive(Default)]
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        /// loom lets a store come between what a compare-and-exchange read and what it wrote. One that is an
        /// exchange itself has its place in the order; being relaxed, it orders nothing else.
        pub(crate) fn store(&self, value: u64, ordering: Ordering) {
            match ordering {
                Ordering::Relaxed => drop(self.0.swap(value, ordering)),
                _ => self.0.store(value, ordering),
            }
        }

        pub(crate) fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange(from, to, success, failure)
        }
    }
}

use std::time::Duration;

use loom::{
    model,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use poll_word::{PollWord, Watch};
use stop::StopCause;
use stop_word::StopWord;

#[test]
fn who_sees_the_stop_sees_what_its_stopper_did_before() {
    model(|| {
        let shared = Arc::new((StopWord::new(0), AtomicBool::new(false)));
        shared.0.runs(1);
        let child = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (word, told) = &*shared;
                if word.is_cancelled(1) {
                    assert!(told.load(Ordering::Relaxed));
                }
                if word.cause(1).is_some() {
                    assert!(told.load(Ordering::Relaxed));
                }
            })
        };
        shared.1.store(true, Ordering::Relaxed);
        shared.0.stops(1, StopCause::Shutdown);
        child.join().unwrap();
    });
}

#[test]
fn a_run_once_stopped_stays_so_and_never_has_the_cause_of_another() {
    model(|| {
        let word = Arc::new(StopWord::new(0));
        word.runs(1);
        let child = {
            let word = word.clone();
            thread::spawn(move || {
                let mut stopped = false;
                for _ in 0..2 {
                    let cause = word.cause(1);
                    assert!(cause.is_none() || cause == Some(StopCause::Pause));
                    let cause = word.cause(2);
                    assert!(cause.is_none() || cause == Some(StopCause::Shutdown));
                    let now = word.is_cancelled(1);
                    assert!(now || !stopped);
                    stopped = now;
                }
            })
        };
        word.stops(1, StopCause::Pause);
        word.over(1);
        word.runs(2);
        word.stops(2, StopCause::Shutdown);
        child.join().unwrap();
    });
}

/// As `Slot::poll_stopped` against `Slot::stop_locked`: wakers are registered and woken under the lock under
/// which the word is written, and the word is read without.
#[test]
fn a_stop_wakes_who_registered_and_then_read() {
    model(|| {
        struct Slot {
            word: StopWord,
            wakers: Mutex<Vec<Arc<AtomicBool>>>,
        }
        let slot = Arc::new(Slot {
            word: StopWord::new(0),
            wakers: Mutex::new(Vec::new()),
        });
        slot.word.runs(1);
        let stopper = {
            let slot = slot.clone();
            thread::spawn(move || {
                let mut wakers = slot.wakers.lock().unwrap();
                slot.word.stops(1, StopCause::Removal);
                for woken in wakers.drain(..) {
                    woken.store(true, Ordering::Release);
                }
            })
        };
        let woken = Arc::new(AtomicBool::new(false));
        slot.wakers.lock().unwrap().push(woken.clone());
        let stopped = slot.word.is_cancelled(1);
        stopper.join().unwrap();
        assert!(stopped || woken.load(Ordering::Acquire), "it sleeps on");
    });
}

/// As `TaskContext::cancelled`, `Gate`'s waits and the end of a child's task: tokio's `Notified` wakes for
/// every `notify_waiters` after it was made, so it is made, then the state read, then awaited.
#[test]
fn a_stop_is_noticed_by_who_asks_for_the_notice_and_then_reads() {
    model(|| {
        let shared = Arc::new((StopWord::new(0), AtomicU64::new(0)));
        shared.0.runs(1);
        let stopper = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (word, notices) = &*shared;
                word.stops(1, StopCause::Restart);
                notices.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (word, notices) = &*shared;
        let made = notices.load(Ordering::SeqCst);
        let stopped = word.is_cancelled(1);
        stopper.join().unwrap();
        assert!(
            stopped || notices.load(Ordering::SeqCst) != made,
            "it sleeps on"
        );
    });
}

const AFTER: Duration = Duration::from_nanos(10);

#[test]
fn a_watched_child_is_in_the_monitors_list_once() {
    model(|| {
        let word = Arc::new(PollWord::default());
        assert_eq!(word.watch(), Watch::New);
        // Runs that follow each other, each on whatever thread, while the monitor looks twice.
        let child = {
            let word = word.clone();
            thread::spawn(move || {
                let mut told = 0;
                for _ in 0..2 {
                    word.over();
                    told += i32::from(word.watch() == Watch::New);
                }
                told
            })
        };
        let forgot = (0..2).filter(|_| word.forget()).count();
        let listed = 1 + child.join().unwrap() - i32::try_from(forgot).unwrap();
        assert_eq!(listed, 1);
    });
}

#[test]
fn a_child_whose_last_run_is_over_is_forgotten_once() {
    model(|| {
        let word = Arc::new(PollWord::default());
        assert_eq!(word.watch(), Watch::New);
        let child = {
            let word = word.clone();
            thread::spawn(move || word.over())
        };
        let forgot = word.forget();
        child.join().unwrap();
        assert_ne!(forgot, word.forget());
        assert!(!word.forget());
        assert_eq!(word.watch(), Watch::New);
    });
}

#[test]
fn a_poll_is_reported_once_and_is_not_stuck_after_its_end() {
    model(|| {
        let word = Arc::new(PollWord::default());
        assert_eq!(word.watch(), Watch::New);
        word.begins(100);
        let child = {
            let word = word.clone();
            thread::spawn(move || {
                word.ends();
                assert_eq!(word.stuck_since(), None);
                // What is short is not reported for the long one before it.
                word.begins(195);
                assert_eq!(word.stuck_since(), None);
            })
        };
        let reports = (0..2).filter(|_| word.report(200, AFTER).is_some()).count();
        assert!(reports <= 1);
        child.join().unwrap();
        assert_eq!(word.stuck_since(), None);
        assert_eq!(word.report(206, AFTER), Some(Duration::from_nanos(11)));
        assert_eq!(word.stuck_since(), Some(195));
    });
}
