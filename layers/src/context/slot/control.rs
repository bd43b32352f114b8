use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        ChildSettings, ChildStatus, ContextSpec, Grace, LifeEnd, ReadinessPolicy, Recorded,
        helpers::Helpers,
    },
    Slot,
    past::{Charged, Notes, Past},
    stop::Stop,
    waiters::Waiters,
};
use crate::{StopCause, policy::Nanos};

/// What of a slot is behind its lock.
pub(super) struct Control {
    pub(super) phase: Phase,
    pub(super) generation: u64,
    pub(super) attempt: u32,
    /// When the status last changed by what somebody did; see [`Control::changed`]. Times are since the
    /// slot's origin.
    pub(super) since: Nanos,
    /// When the current or last run began.
    pub(super) began: Nanos,
    pub(super) readiness: ReadinessPolicy,
    pub(super) ready: bool,
    /// The run was polled and went on.
    pub(super) polled_once: bool,
    /// The last run that has started; it may be over.
    pub(super) started: u64,
    pub(super) grouped: bool,
    /// A failure before the start is final.
    pub(super) first_start: bool,
    /// The last run ended so.
    pub(super) failed_first_start: bool,
    /// No run begins any more.
    pub(super) end: Option<StopCause>,
    pub(super) hold: Option<Box<Hold>>,
    /// The next run waits for the child's group.
    pub(super) group_hold: bool,
    /// Somebody asked for another run after this one had ended: it begins whatever was decided.
    pub(super) rerun: bool,
    pub(super) lingering: bool,
    /// The last there is to say of the child has been told.
    pub(super) told: bool,
    pub(super) leaf: bool,
    /// A `RestartLayer` carries out the runs of this life.
    pub(super) managed: bool,
    pub(super) beat: Option<Nanos>,
    pub(super) past: Past,
    /// Shared by children of one policy.
    pub(super) settings: Option<Arc<ChildSettings>>,
    /// None before there is any of it.
    pub(super) rare: Option<Box<Rare>>,
    pub(super) waiters: Waiters,
    pub(super) sequence: u64,
    pub(super) correlation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// At the gate.
    Idle,
    BackingOff {
        until: Nanos,
    },
    /// A run lives.
    Active,
    /// The run ended, helpers of it live. What comes now no longer changes how it ended.
    Joining {
        /// Why it was being stopped when it ended.
        stopped: Option<StopCause>,
    },
    /// The life ended.
    Ended(End),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Finished,
    Failed,
    Aborted,
}

pub(super) enum Hold {
    Paused,
    Quarantined {
        reason: Arc<str>,
        until: Option<Instant>,
    },
}

/// What few children have at any one time.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) helpers: Option<Helpers>,
    pub(super) token: Option<CancellationToken>,
    /// The held sibling that the next run waits for, with the group.
    pub(super) waits_for: Option<Arc<str>>,
    pub(super) start_extended: Option<Nanos>,
    /// Until when the run that is being stopped asked for time.
    pub(super) stop_extended: Option<Nanos>,
}

/// Helpers that are still alive so long after they were told to end cannot be ended.
const LINGERS_AFTER: Duration = Duration::from_secs(1);

impl Control {
    pub(super) fn new(spec: &ContextSpec, added: Nanos) -> Self {
        Self {
            phase: Phase::Idle,
            generation: spec.generation,
            attempt: 0,
            since: added,
            began: added,
            readiness: spec.readiness,
            ready: false,
            polled_once: false,
            started: 0,
            grouped: spec.grouped,
            first_start: false,
            failed_first_start: false,
            end: None,
            hold: None,
            group_hold: false,
            rerun: false,
            lingering: false,
            told: false,
            leaf: spec.leaf,
            managed: false,
            beat: None,
            past: Past::None,
            settings: spec
                .layer
                .as_ref()
                .filter(|_| !spec.own_layers)
                .map(|layer| layer.layers().settings.clone()),
            rare: None,
            waiters: Waiters::default(),
            sequence: 0,
            correlation: 0,
        }
    }

    /// From here on a cause is known; what has none keeps the one before.
    pub(in crate::context) fn correlate(&mut self, correlation: u64) {
        if correlation != 0 {
            self.correlation = correlation;
        }
    }

    /// As the owner's journal has it.
    pub(super) fn recorded(&mut self, recorded: Recorded) {
        self.sequence = recorded.sequence;
        self.correlation = recorded.correlation;
    }

    /// Fuse, backoff and attempts as new.
    pub(super) fn forget_history(&mut self) {
        self.attempt = 0;
        if let Some(history) = self.past.kept_mut() {
            history.memory.clear();
            history.charged = None;
        }
        self.cut_backoff();
    }

    /// The stop that is pending.
    pub(super) fn stop(&self) -> Option<&Stop> {
        self.past.stop()
    }

    pub(super) fn take_stop(&mut self) -> Option<Stop> {
        if let Some(rare) = &mut self.rare {
            rare.stop_extended = None;
        }
        self.past.take_stop()
    }

    pub(super) fn stop_cause(&self) -> Option<StopCause> {
        self.stop().map(|stop| stop.cause)
    }

    pub(super) fn charged(&self) -> Option<&Charged> {
        self.past.kept()?.charged.as_deref()
    }

    pub(super) fn charged_mut(&mut self) -> &mut Charged {
        self.past.history().charged.get_or_insert_default()
    }

    /// What was noted of the run that is ending, which is noted no more.
    pub(super) fn take_notes(&mut self) -> Notes {
        let history = self.past.kept_mut();
        let charged = history.and_then(|history| history.charged.as_mut());
        charged.map_or_else(Notes::default, |charged| std::mem::take(&mut charged.notes))
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn helpers(&self) -> Option<&Helpers> {
        self.rare.as_ref()?.helpers.as_ref()
    }

    /// Forgets helpers that have all ended.
    pub(super) fn forget_helpers(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.helpers.take_if(|helpers| helpers.is_empty());
        }
    }

    /// Cancels the token that was handed out for the run, if one was.
    pub(super) fn cancel_token(&mut self) {
        if let Some(token) = self.rare.as_mut().and_then(|rare| rare.token.take()) {
            token.cancel();
        }
    }

    pub(super) fn waits_for(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.waits_for.as_ref()
    }

    pub(super) fn waits_for_nobody(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.waits_for = None;
        }
    }

    pub(super) fn start_extended(&self) -> Option<Nanos> {
        self.rare.as_ref()?.start_extended
    }

    pub(super) fn cut_backoff(&mut self) {
        if let Phase::BackingOff { .. } = self.phase {
            self.phase = Phase::Idle;
        }
    }

    /// A run of this generation lives and has not ended.
    pub(super) fn runs(&self, generation: u64) -> bool {
        self.generation == generation && self.phase == Phase::Active
    }

    /// A run lives, or what it left behind.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Joining { .. })
    }

    /// Nothing of that run is left to be ended.
    pub(super) fn is_down(&self, generation: u64) -> bool {
        self.generation != generation || (!self.is_alive() && self.helpers().is_none())
    }

    /// When this stop was asked for, if the run that it ends is the child's last, and leaves nothing.
    pub(super) fn asked_as_last(&self, stop: &Stop) -> Option<Nanos> {
        let is_last = self.leaf
            && !self.told
            && self.end == Some(stop.cause)
            && self.phase == Phase::Active
            && self.rare.is_none();
        stop.asked_once().filter(|_| is_last)
    }

    pub(super) fn life_end(&self) -> LifeEnd {
        LifeEnd {
            ended: self.is_over(),
            ending: self.end,
        }
    }

    /// Nothing lives, and the life goes on.
    pub(super) fn is_between_runs(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::BackingOff { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The life ended, and nobody asked for another.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended() && !self.rerun
    }

    pub(super) fn setting<T>(&self, read: impl FnOnce(&ChildSettings) -> Option<T>) -> Option<T> {
        self.settings.as_deref().and_then(read)
    }

    /// Notes a setting, unless it is `known`.
    pub(super) fn publish(
        &mut self,
        known: impl FnOnce(&ChildSettings) -> bool,
        set: impl FnOnce(&mut ChildSettings),
    ) {
        let settings = self.settings.get_or_insert_default();
        if !known(settings) {
            set(Arc::make_mut(settings));
        }
    }

    /// How long a run lasts that was healthy.
    pub(super) fn healthy_time(&self) -> Duration {
        /// For a child without a backoff to say otherwise.
        const DEFAULT: Duration = Duration::from_secs(60);
        self.setting(|settings| settings.backoff)
            .map_or(DEFAULT, |backoff| backoff.healthy_time())
    }

    /// Who drops the run when it is stopped and does not end.
    pub(super) fn grace(&self) -> Grace {
        match self.setting(|settings| settings.grace) {
            Some(_) => Grace::Own,
            None => Grace::OfStopper,
        }
    }

    /// When the stopping run will be dropped.
    pub(super) fn drop_at(&self) -> Option<Nanos> {
        self.drop_after(self.setting(|settings| settings.grace))
    }

    /// The same with that grace.
    pub(super) fn drop_after(&self, grace: Option<Duration>) -> Option<Nanos> {
        let extended = self.rare.as_ref().and_then(|rare| rare.stop_extended);
        self.stop()?.drop_at(grace, extended)
    }

    /// Since when a child's backoff is over that has not begun to run: it waits for a permit, or its turn.
    fn backed_off(&self, now: Nanos) -> Option<Nanos> {
        match self.phase {
            Phase::BackingOff { until } if until <= now => Some(until),
            _ => None,
        }
    }

    /// When the status last changed.
    pub(super) fn changed(&self, now: Nanos) -> Nanos {
        self.backed_off(now).unwrap_or(self.since)
    }

    pub(super) fn status(&self, slot: &Slot) -> ChildStatus {
        let cause = self.stop_cause();
        match (self.phase, self.hold.as_deref()) {
            (Phase::Active | Phase::Joining { .. }, _) if self.lingering => ChildStatus::Lingering,
            (Phase::Active, _) if cause.is_some() => ChildStatus::Stopping { cause },
            (Phase::Active, _) if self.ready => ChildStatus::Running,
            (Phase::Active, _) => ChildStatus::Starting,
            (Phase::Joining { .. }, _) if slot.now().saturating_sub(self.since) > LINGERS_AFTER => {
                ChildStatus::Lingering
            }
            (Phase::Joining { .. }, _) => ChildStatus::Stopping { cause },
            (_, Some(Hold::Paused)) => ChildStatus::Paused,
            (_, Some(Hold::Quarantined { reason, until })) => ChildStatus::Quarantined {
                reason: reason.clone(),
                until: *until,
            },
            (Phase::Idle | Phase::BackingOff { .. }, None) if self.waits_for().is_some() => {
                let sibling = self.waits_for().cloned().unwrap_or_else(|| "".into());
                ChildStatus::WaitingFor { sibling }
            }
            (Phase::BackingOff { until }, None) if until <= slot.now() => ChildStatus::Waiting,
            (Phase::BackingOff { until }, None) => ChildStatus::BackingOff {
                until: slot.at(until),
            },
            (Phase::Ended(End::Finished), None) => ChildStatus::Finished,
            (Phase::Ended(End::Failed), None) => ChildStatus::Failed,
            (Phase::Ended(End::Aborted), None) => ChildStatus::Aborted,
            (Phase::Idle, None) => ChildStatus::Waiting,
        }
    }
}
