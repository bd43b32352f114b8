use std::{future::Future, panic::Location, time::Duration};

use supervisor_layers::{LifecycleEvent, context::after};
use tokio::time::Instant;

use super::TestTree;
use crate::{EventKind, SupervisorEvent, SupervisorPath};

/// Waits in virtual time, each for no longer than [`wait_limit`](TestTree::wait_limit) says.
///
/// What has happened already, since the start, counts for those that wait for an event.
///
/// # Panics
///
/// If the time is over, or the tree has ended, before what was waited for has come: with the tree as it is, and
/// what happened last.
impl TestTree {
    /// Waits until the run of this generation, or a later one, is ready.
    #[track_caller]
    pub fn until_running(
        &self,
        path: impl Into<SupervisorPath>,
        generation: u64,
    ) -> impl Future<Output = ()> {
        let path = path.into();
        let what = format!("{path} did not come to run {generation}");
        let event = self.event_at(Location::caller(), what, move |event| {
            event.path == path
                && event.generation >= generation
                && event.kind == EventKind::Lifecycle(LifecycleEvent::Ready)
        });
        async move {
            event.await;
        }
    }

    /// Waits until so many runs of the child have ended, however they did.
    #[track_caller]
    pub fn until_exits(
        &self,
        path: impl Into<SupervisorPath>,
        exits: usize,
    ) -> impl Future<Output = ()> {
        let path = path.into();
        let what = format!("{path} did not come to {exits} exits");
        let mut counted = 0;
        let event = self.event_at(Location::caller(), what, move |event| {
            let exited = matches!(
                event.kind,
                EventKind::Lifecycle(LifecycleEvent::Exited { .. })
            );
            counted += usize::from(exited && event.path == path);
            counted >= exits
        });
        async move {
            event.await;
        }
    }

    /// Waits until the child, or the supervisor, is in the status of this name, as
    /// [`ChildStatus::as_str`](crate::ChildStatus::as_str) has them: `"backing_off"`, `"quarantined"`.
    #[track_caller]
    pub fn until_status(
        &self,
        path: impl Into<SupervisorPath>,
        status: &str,
    ) -> impl Future<Output = ()> {
        let path = path.into();
        let what = format!("{path} did not come to be {status}");
        self.condition_at(Location::caller(), what, move |tree| {
            tree.child_state(path.clone())
                .is_ok_and(|child| child.status.as_str() == status)
        })
    }

    /// Waits for the first event since the start for which this holds.
    #[track_caller]
    pub fn until_event(
        &self,
        wanted: impl FnMut(&SupervisorEvent) -> bool,
    ) -> impl Future<Output = SupervisorEvent> {
        let what = "the event did not come".to_owned();
        self.event_at(Location::caller(), what, wanted)
    }

    /// Waits until this holds, looked at whenever something happened, and every millisecond.
    #[track_caller]
    pub fn until(&self, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
        let what = "the condition did not come to hold".to_owned();
        self.condition_at(Location::caller(), what, move |_| condition())
    }

    async fn condition_at(
        &self,
        at: &'static Location<'static>,
        what: String,
        mut condition: impl FnMut(&Self) -> bool,
    ) {
        let check = || condition(self).then_some(());
        self.wait_at(at, what, Duration::from_millis(1), check)
            .await;
    }

    async fn event_at(
        &self,
        at: &'static Location<'static>,
        what: String,
        mut wanted: impl FnMut(&SupervisorEvent) -> bool,
    ) -> SupervisorEvent {
        let mut seen = 0;
        let check = || {
            // Taken out first: what the test looks at may ask this tree.
            let new = self.recorder().events[seen..].to_vec();
            seen += new.len();
            new.into_iter().find(&mut wanted)
        };
        self.wait_at(at, what, self.limit, check).await
    }

    /// Asks `check` whenever something happened, and every `step`.
    async fn wait_at<T>(
        &self,
        at: &'static Location<'static>,
        what: String,
        step: Duration,
        mut check: impl FnMut() -> Option<T>,
    ) -> T {
        let until = after(Instant::now(), self.limit);
        let mut ended = false;
        loop {
            // Before the check, so that nothing falls in between.
            let mut events = self.subscribe_events();
            if let Some(found) = check() {
                return found;
            }
            if ended {
                self.fail(at, &format!("{what} before the tree ended"));
            }
            if Instant::now() >= until {
                self.fail(at, &format!("{what} within {:?}", self.limit));
            }
            let left = until - Instant::now();
            let next = tokio::time::timeout(step.min(left), events.next()).await;
            ended = matches!(next, Ok(None));
        }
    }
}
