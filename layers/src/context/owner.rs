use std::{any::Any, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{HoldReason, RunEnd, Steps};
use crate::{
    TaskExit,
    policy::{FuseReading, Nanos, RestartDecision},
    serde_millis,
};

/// Which run of which child.
#[derive(Debug, Clone, Copy)]
pub struct RunId<'a> {
    /// The child's path.
    pub path: &'a Arc<str>,
    /// Which addition of the child.
    pub instance: u64,
    /// Which run; 0 before the first.
    pub generation: u64,
    /// How many starts in a row have not become healthy.
    pub attempt: u32,
}

/// What an owner's journal answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded {
    /// The sequence of the last step recorded.
    pub sequence: u64,
    /// What ties these steps to the command or the exit that caused them; 0 for none.
    pub correlation: u64,
}

/// Who supervises a child, as far as its layers need to know.
///
/// The layers call it from the child's own task, save for [`Stuck`](LifecycleEvent::Stuck), which a thread of
/// its own tells while that task cannot. None of these may block, and none may call back into the
/// child's context except [`decided`](Self::decided): the others are called with the child's slot locked.
pub trait Owner: Any + Send + Sync {
    /// From when on its children's times are counted: no later than the first of them was made, and always the
    /// same.
    fn origin(&self) -> Instant;

    /// What happened to a child at once. `correlation` is 0 where nothing caused it yet.
    ///
    /// `at` is, as all times here, since the [origin](Self::origin).
    fn record(&self, run: RunId<'_>, at: Nanos, steps: Steps<'_>, correlation: u64) -> Recorded;

    /// The same of the end of a run that was `asked` to, once, as its child's last: no other follows unless the gate is
    /// opened anew, and nothing of this one is left but the child's task, and the service in it. `Some`: it was
    /// recorded together with the last there is to say of the child; see
    /// [`Gate::take_last_word`](super::Gate::take_last_word). `None`, as it is unless said otherwise: nothing was.
    fn record_last(
        &self,
        run: RunId<'_>,
        at: Nanos,
        end: &RunEnd,
        asked: Nanos,
        correlation: u64,
    ) -> Option<Recorded> {
        let _ = (run, at, end, asked, correlation);
        None
    }

    /// Whether the supervisor's intensity lets one restart pass now; asked for children without a fuse.
    fn admit_restart(&self, now: Nanos) -> bool;

    /// Whether no run may begin anywhere any more.
    fn is_closing(&self) -> bool;

    /// Every decision, once it stands. A group restart and an escalation are the supervisor's to carry out;
    /// what else it does with one costs each restart in place. `correlation` is the exit's.
    fn decided(&self, run: RunId<'_>, decision: &RestartDecision, correlation: u64);

    /// What makes the jitter of its children repeatable; a [`Backoff`](crate::Backoff)'s own seed goes before
    /// it. `None`, as it is unless said otherwise: no two processes wait alike.
    fn jitter_seed(&self) -> Option<u64> {
        None
    }
}

/// One step in a child's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifecycleEvent {
    /// A run begins.
    Starting,
    /// The run is ready.
    Ready,
    /// The run ended.
    Exited {
        /// How.
        exit: TaskExit,
        /// The failure in words.
        message: Option<Arc<str>>,
    },
    /// What follows the exit, and why.
    RestartDecided {
        /// The decision with its reasons.
        decision: RestartDecision,
    },
    /// The next run waits.
    BackingOff {
        /// How long from now.
        #[serde(rename = "delay_ms", with = "serde_millis")]
        #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
        delay: Duration,
    },
    /// A failure was counted.
    FuseCharged {
        /// What the fuse reads.
        #[serde(flatten)]
        fuse: FuseReading,
    },
    /// A failure too many.
    FuseBlown {
        /// What the fuse reads.
        #[serde(flatten)]
        fuse: FuseReading,
    },
    /// Held down.
    Quarantined {
        /// Why.
        reason: Arc<str>,
        /// Released by itself after this.
        #[serde(rename = "release_after_ms", with = "serde_millis::option")]
        #[cfg_attr(feature = "schemars", schemars(with = "Option<u64>"))]
        release_after: Option<Duration>,
    },
    /// No longer held down.
    Released {
        /// What held it.
        from: HoldReason,
    },
    /// Stopped until resumed.
    Paused,
    /// May run again.
    Resumed,
    /// No sign of life for too long, or no start within its time.
    Unhealthy {
        /// Which of both, with the limit.
        reason: Arc<str>,
    },
    /// A poll of the run blocks its worker thread. Told once for each such poll, while it goes on.
    Stuck {
        /// How long it had lasted when it was noticed.
        #[serde(rename = "lasts_ms", with = "serde_millis")]
        #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
        lasts: Duration,
    },
}

impl LifecycleEvent {
    /// What it is called in JSON, in filters and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Exited { .. } => "exited",
            Self::RestartDecided { .. } => "restart_decided",
            Self::BackingOff { .. } => "backing_off",
            Self::FuseCharged { .. } => "fuse_charged",
            Self::FuseBlown { .. } => "fuse_blown",
            Self::Quarantined { .. } => "quarantined",
            Self::Released { .. } => "released",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Stuck { .. } => "stuck",
        }
    }
}
