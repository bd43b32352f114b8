use std::{
    ptr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use super::{ObserveLayer, meter::Meter};
use crate::{
    TaskContext,
    context::{Slot, Watch},
    real_time::Moment,
    task::catch_panic,
};

/// The process's one monitor.
static MONITOR: Monitor = Monitor {
    door: Mutex::new(Door {
        arrived: Watched::NOBODY,
        waits: None,
        begun: false,
    }),
    urgent: Condvar::new(),
};

/// Has the polls of this run looked at; `false` if nobody asked for it, or a layer further out did.
pub(super) fn watch(ctx: &TaskContext, settings: &ObserveLayer) -> bool {
    let Some(after) = settings.stuck_after.map(Duration::from) else {
        return false;
    };
    match ctx.slot().poll_word().watch() {
        Watch::Taken => return false,
        Watch::Known => {}
        Watch::New => {
            let metrics = settings.metrics;
            MONITOR.admit(ctx.slot(), Terms { after, metrics });
        }
    }
    true
}

/// A child's last trace goes. If the thread has not taken it over, nothing of it is left here.
pub(crate) fn leave(slot: &Slot) {
    if slot.poll_word().is_known() {
        MONITOR.door().arrived.remove(slot);
    }
}

/// One thread that looks, now and then, whether a poll has been running for too long.
struct Monitor {
    door: Mutex<Door>,
    /// Somebody arrived that has to be looked at sooner than the thread would.
    urgent: Condvar,
}

/// Where children arrive.
struct Door {
    /// Those that the thread has not taken over yet.
    arrived: Watched,
    /// How long the thread waits before it looks; `None`: until somebody arrives.
    waits: Option<Duration>,
    /// There is a thread.
    begun: bool,
}

impl Monitor {
    fn admit(&'static self, slot: &Arc<Slot>, terms: Terms) {
        let mut door = self.door();
        door.arrived.add(slot, terms);
        let interval = terms.interval();
        // Once for all that arrive meanwhile: a tree that starts does not wake it with each child.
        if door.waits.is_none_or(|waits| interval < waits) {
            door.waits = Some(interval);
            self.urgent.notify_one();
        }
        let mut began = Ok(());
        if !std::mem::replace(&mut door.begun, true) {
            let thread = thread::Builder::new().name("stuck-polls".to_owned());
            began = thread.spawn(|| self.run()).map(drop);
            door.begun = began.is_ok();
        }
        drop(door);
        if let Err(error) = began {
            tracing::warn!(target: "rust_supervisor", %error, "no thread to look for stuck polls");
        }
    }

    fn run(&self) {
        let mut watched = Watched::NOBODY;
        loop {
            let mut door = self.door();
            watched.append(&mut door.arrived);
            door.waits = watched.interval();
            let due = match door.waits {
                Some(interval) => {
                    let waited = self.urgent.wait_timeout(door, interval);
                    let (_door, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    waited.timed_out()
                }
                None => {
                    drop(self.urgent.wait(door));
                    false
                }
            };
            if due {
                watched.look(Moment::now());
            }
        }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a child's layer asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Terms {
    after: Duration,
    metrics: bool,
}

impl Terms {
    fn interval(self) -> Duration {
        const TICK: Duration = Duration::from_millis(1);
        (self.after / 4).max(TICK)
    }
}

/// Children to look at.
struct Watched(Vec<Group>);

/// Those of the same terms.
struct Group {
    terms: Terms,
    /// None where somebody has left.
    slots: Vec<Option<Weak<Slot>>>,
    /// Where that is.
    vacant: Vec<u32>,
}

impl Watched {
    const NOBODY: Self = Self(Vec::new());

    fn add(&mut self, slot: &Arc<Slot>, terms: Terms) {
        let group = self.of(terms);
        let arrived = Some(Arc::downgrade(slot));
        let place = group.vacant.pop().unwrap_or(group.slots.len() as u32);
        match group.slots.get_mut(place as usize) {
            Some(vacant) => *vacant = arrived,
            None => group.slots.push(arrived),
        }
        slot.set_place(place);
    }

    fn remove(&mut self, slot: &Slot) {
        let place = slot.place();
        for group in &mut self.0 {
            let there = group.slots.get_mut(place as usize);
            if let Some(there) = there
                && (there.as_ref()).is_some_and(|known| ptr::eq(known.as_ptr(), slot))
            {
                *there = None;
                group.vacant.push(place);
            }
        }
    }

    fn append(&mut self, other: &mut Self) {
        for mut group in other.0.drain(..) {
            let own = self.of(group.terms);
            if own.slots.is_empty() {
                own.slots = group.slots;
            } else {
                own.slots.append(&mut group.slots);
            }
        }
    }

    fn of(&mut self, terms: Terms) -> &mut Group {
        let at = self.0.iter().position(|group| group.terms == terms);
        let at = at.unwrap_or_else(|| {
            self.0.push(Group {
                terms,
                slots: Vec::new(),
                vacant: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// How long until it has to be looked again; `None` if there is nobody to look at.
    fn interval(&self) -> Option<Duration> {
        self.0.iter().map(|group| group.terms.interval()).min()
    }

    /// Reports who is stuck, and forgets whose runs are over.
    fn look(&mut self, now: Moment) {
        for Group { terms, slots, .. } in &mut self.0 {
            slots.retain(|slot| {
                let Some(slot) = slot else { return false };
                // A subscriber, a recorder, or whatever ends with a child's last trace may panic.
                catch_panic(|| look_at(slot, *terms, now)).unwrap_or(true)
            });
            // A storm that is over leaves no trace.
            if slots.len() < slots.capacity() / 4 {
                slots.shrink_to_fit();
            }
        }
        self.0.retain(|group| !group.slots.is_empty());
    }
}

/// `false`: it is to be forgotten.
fn look_at(slot: &Weak<Slot>, terms: Terms, now: Moment) -> bool {
    let Some(slot) = slot.upgrade() else {
        return false;
    };
    if slot.poll_word().forget() {
        return false;
    }
    if let Some((generation, lasts)) = slot.note_stuck(now, terms.after) {
        let ctx = TaskContext::of_run(slot, generation);
        tracing::warn!(target: "rust_supervisor", path = ctx.path(), generation, ?lasts, "stuck in a poll");
        if terms.metrics {
            Meter::of(&ctx).stuck(&ctx);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        after: Duration::from_secs(1),
        metrics: false,
    };

    fn at(secs: u64) -> Moment {
        Moment::at(Duration::from_secs(secs).as_nanos() as u64)
    }

    /// A child whose run is watched, and by whom.
    fn watched() -> (TaskContext, Watched) {
        let ctx = TaskContext::detached("child");
        assert_eq!(ctx.slot().poll_word().watch(), Watch::New);
        let mut watched = Watched::NOBODY;
        watched.add(ctx.slot(), TERMS);
        (ctx, watched)
    }

    #[test]
    fn a_child_is_forgotten_when_its_run_is_over() {
        let (ctx, mut watched) = watched();
        watched.look(at(1));
        assert_eq!(watched.interval(), Some(Duration::from_millis(250)));
        ctx.slot().poll_word().over();
        watched.look(at(2));
        assert_eq!(watched.interval(), None);
        assert_eq!(ctx.slot().poll_word().watch(), Watch::New);
    }

    #[test]
    fn a_child_that_runs_again_before_that_is_kept() {
        let (ctx, mut watched) = watched();
        ctx.slot().poll_word().over();
        assert_eq!(ctx.slot().poll_word().watch(), Watch::Known);
        watched.look(at(1));
        assert!(watched.interval().is_some());
    }

    #[test]
    fn nobody_is_kept_alive() {
        let (ctx, mut watched) = watched();
        let slot = Arc::downgrade(ctx.slot());
        drop(ctx);
        assert!(slot.upgrade().is_none());
        watched.look(at(1));
        assert_eq!(watched.interval(), None);
    }

    #[test]
    fn who_comes_when_somebody_has_gone_takes_that_place() {
        let (gone, mut watched) = watched();
        let stays = TaskContext::detached("stays");
        assert_eq!(stays.slot().poll_word().watch(), Watch::New);
        watched.add(stays.slot(), TERMS);
        watched.remove(gone.slot());
        // It has gone already.
        watched.remove(gone.slot());
        let comes = TaskContext::detached("comes");
        watched.add(comes.slot(), TERMS);
        let places = [&stays, &comes].map(|ctx| ctx.slot().place());
        assert_eq!(places, [1, 0]);
        stays.slot().poll_word().begins(at(1).nanos());
        watched.look(at(3));
        assert!(stays.slot().poll_word().stuck_since().is_some());
        assert_eq!(gone.slot().poll_word().watch(), Watch::Taken);
    }

    #[test]
    fn a_poll_is_stuck_from_its_threshold_on() {
        let (ctx, mut watched) = watched();
        let word = ctx.slot().poll_word();
        for second in [5, 6] {
            word.begins(at(second).nanos());
            watched.look(Moment::at(at(second + 1).nanos() - 1));
            assert_eq!(word.stuck_since(), None);
            watched.look(at(second + 1));
            assert_eq!(word.stuck_since(), Some(at(second).nanos()));
            word.ends();
            watched.look(at(second + 2));
            assert_eq!(word.stuck_since(), None);
        }
    }

    #[test]
    fn a_child_that_holds_its_lock_in_a_stuck_poll_blocks_nobody() {
        let (ctx, mut watched) = watched();
        ctx.slot().poll_word().begins(at(1).nanos());
        ctx.memory(0, |_: &mut ()| watched.look(at(3)));
        assert_eq!(ctx.slot().poll_word().stuck_since(), None);
        watched.look(at(4));
        assert!(ctx.slot().poll_word().stuck_since().is_some());
    }

    #[test]
    fn those_that_are_looked_at_most_often_say_how_often() {
        let (_a, mut watched) = watched();
        let ctx = TaskContext::detached("b");
        let terms = Terms {
            after: Duration::from_millis(8),
            ..TERMS
        };
        watched.add(ctx.slot(), terms);
        assert_eq!(watched.interval(), Some(Duration::from_millis(2)));
        drop(ctx);
        watched.look(at(1));
        assert_eq!(watched.interval(), Some(Duration::from_millis(250)));
    }
}
