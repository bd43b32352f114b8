use std::{fmt, sync::Arc, time::Duration};

use supervisor_layers::{
    ChildStatus, FailureKind, RestartAction, StopCause, TaskFailure,
    context::{LastExit, StartOutcome, StopRequest, after},
};

use tokio::time::Instant;

use super::{
    Child, Scope,
    core::{GiveUp, Notice},
    strategy,
};
use crate::{event::TreeEvent, spec::SupervisionStrategy};

impl Scope {
    /// Starts all declared children again in order, retrying under the limits; an error is the limits' end.
    pub(super) async fn bring_up_again(
        self: &Arc<Self>,
        members: Vec<Arc<Child>>,
    ) -> Result<(), GiveUp> {
        for child in &members {
            // Runs of a life that was dropped may take their time to end.
            child.over().await;
            self.launch(child, |gate| {
                gate.reopen(false);
                gate.hold_for_group(true);
                true
            });
            child.gate().correlate(self.core.cause());
            // How its last life ended is no matter of this one.
            child.regroup();
        }
        self.run_group(members, None).await
    }

    /// Starts all declared children for the first time, level by level, and does not retry. A child whose start is
    /// not waited for is looked after before the next level that has one whose is, or that depends on
    /// others.
    pub(super) async fn bring_up_first(&self, members: Vec<Arc<Child>>) -> Result<(), TaskFailure> {
        let mut unseen: Vec<&Arc<Child>> = Vec::with_capacity(members.len());
        for level in members.chunk_by(|a, b| a.level == b.level) {
            if level
                .iter()
                .any(|child| child.starts_explicitly() || !child.depends_on().is_empty())
            {
                self.have_started(std::mem::take(&mut unseen)).await?;
            }
            for child in level {
                self.launch_first(child);
            }
            for child in level {
                if child.starts_explicitly() {
                    self.has_started(child).await?;
                } else {
                    unseen.push(child);
                }
            }
        }
        self.have_started(unseen).await
    }

    pub(super) fn launch_first(&self, child: &Arc<Child>) {
        self.launch(child, |gate| {
            gate.reopen(true);
            true
        });
    }

    async fn have_started(&self, children: Vec<&Arc<Child>>) -> Result<(), TaskFailure> {
        for side_by_side in children.chunks(100) {
            // They begin more or less in the order in which they were launched: with the last of them most
            // have, and nobody has to be woken for each.
            if let Some(last) = side_by_side.last() {
                last.gate().started(0).await;
            }
            for child in side_by_side {
                self.has_started(child).await?;
            }
        }
        Ok(())
    }

    async fn has_started(&self, child: &Arc<Child>) -> Result<(), TaskFailure> {
        let Err(not_started) = self.first_start(child).await else {
            return Ok(());
        };
        // Somebody took it out, and the others start without it.
        if let NotStarted::Stopped(StopCause::Removal) = not_started {
            return Ok(());
        }
        let failure = TaskFailure::new(
            FailureKind::StartFailed,
            format!("{} could not be started: {not_started}", child.path()),
        );
        if let NotStarted::Because(reason) = not_started {
            self.tree().note_start_failure(&child.path(), reason);
        }
        Err(failure)
    }

    /// Waits for a first start, which has to succeed.
    pub(super) async fn first_start(&self, child: &Arc<Child>) -> Result<(), NotStarted> {
        let gate = child.gate();
        let mut generation = 0;
        loop {
            let outcome = match child.start_timeout().filter(|_| child.starts_explicitly()) {
                None => gate.started(generation).await,
                // In a box, as is all that few children need: the others' commands are smaller without it.
                Some(limit) => {
                    match Box::pin(self.started_within(child, generation, limit)).await {
                        Some(outcome) => outcome,
                        None => {
                            return Err(NotStarted::Because(format!("not ready within {limit:?}")));
                        }
                    }
                }
            };
            let last = match outcome {
                StartOutcome::Started | StartOutcome::Held => return Ok(()),
                StartOutcome::Exited(last) => last,
                StartOutcome::Ended => {
                    return Err(NotStarted::Because("its service will not run".to_owned()));
                }
                StartOutcome::Ending(cause) => return Err(NotStarted::Stopped(cause)),
            };
            match last.decision.map(|decision| decision.action) {
                Some(RestartAction::Finish) => return Ok(()),
                // Somebody else stopped the run; whether the child starts, the next one shows.
                Some(RestartAction::Stop { .. }) => generation = last.generation,
                _ => return Err(NotStarted::Because(describe(&last))),
            }
        }
    }

    /// The watchdog of the default stack ends a late start itself; a stack without one is ended here.
    async fn started_within(
        &self,
        child: &Child,
        generation: u64,
        limit: Duration,
    ) -> Option<StartOutcome> {
        let gate = child.gate();
        let mut started = std::pin::pin!(gate.started(generation));
        let mut due = after(Instant::now(), limit);
        loop {
            let deadlines = &self.tree().deadlines;
            if let Some(outcome) = deadlines.within(due, started.as_mut()).await {
                return Some(outcome);
            }
            if gate.start_timeout().is_some() {
                return Some(started.await);
            }
            match gate.start_extended().filter(|&extended| extended > due) {
                Some(extended) => due = extended,
                None => return None,
            }
        }
    }

    /// Acts on a child's wish that its group restart.
    pub(super) async fn restart_group(
        self: &Arc<Self>,
        instance: u64,
        generation: u64,
        delay: Duration,
    ) -> Result<(), GiveUp> {
        match self.waiting(instance, generation) {
            Some(failed) => self.run_group(Vec::new(), Some((failed, delay))).await,
            None => Ok(()),
        }
    }

    /// The child that wishes so. A notice is old when its child has run since, or a group restart has it
    /// start again already.
    fn waiting(&self, instance: u64, generation: u64) -> Option<Arc<Child>> {
        let child = self.by_instance(instance)?;
        let gate = child.gate();
        let waits = gate.generation() == generation && gate.waits_for_group();
        (waits && !child.is_regrouped(generation)).then_some(child)
    }

    fn group_of(&self, failed: &Child) -> Vec<Arc<Child>> {
        let in_group = strategy::group(self.strategy, failed.gate().instance());
        let mut children = self.children();
        children.retain(|child| in_group(child.gate().instance()));
        children
    }

    /// Stops the failed child's group in reverse order and starts it again in order, after the longest
    /// delay in it. A child that fails meanwhile, a member that does not start or one that stands before
    /// the group, has its own group begin anew: under RestForOne that resumes at the one that failed, or
    /// before it, at the first that still waits.
    async fn run_group(
        self: &Arc<Self>,
        mut members: Vec<Arc<Child>>,
        mut failure: Option<(Arc<Child>, Duration)>,
    ) -> Result<(), GiveUp> {
        let mut begun = false;
        let mut delay = Duration::ZERO;
        let mut since = Instant::now();
        loop {
            if let Some((failed, own_delay)) = failure {
                if !self.core.charge_intensity(self.tree().journal.now()) {
                    return Err(self.core.exceeded(failed.gate().correlation()));
                }
                self.core.acts_because(failed.gate().correlation());
                let in_group = strategy::group(self.strategy, failed.gate().instance());
                let mut group = self.group_of(&failed);
                delay = delay.saturating_sub(since.elapsed()).max(own_delay);
                since = Instant::now();
                begun = true;
                self.begin_group(&failed, group.len(), delay);
                self.stop_group(&group).await;
                // Members that failed before they could be stopped start again with the others, and so do
                // those that came meanwhile and failed already.
                let last = group.last().map(|child| child.gate().instance());
                let mut later = self.group_of(&failed);
                later.retain(|child| {
                    Some(child.gate().instance()) > last && child.gate().waits_for_group()
                });
                group.extend(later);
                let longest = group.iter().filter_map(|child| child.regroup()).max();
                delay = delay
                    .saturating_sub(since.elapsed())
                    .max(own_delay)
                    .max(longest.unwrap_or_default());
                since = Instant::now();
                // A child that was added meanwhile may fail before all that stand before it have started.
                members.retain(|child| {
                    !in_group(child.gate().instance()) && child.gate().waits_for_group()
                });
                members.extend(group);
            }
            tokio::select! {
                biased;
                failed = self.next_failure() => failure = Some(failed?),
                () = self.start_in_order(&members, delay) => {
                    if begun {
                        let started = members.iter().filter(|child| child.gate().is_active()).count();
                        let ended = TreeEvent::GroupRestartEnded { started };
                        self.core.record(ended, self.core.cause());
                        self.core.acts_because(0);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn begin_group(&self, failed: &Child, members: usize, delay: Duration) {
        self.count_group_restart();
        let begun = TreeEvent::GroupRestartBegun {
            strategy: self.strategy,
            failed: failed.path(),
            members,
            delay,
        };
        self.core.record(begun, self.core.cause());
    }

    /// The next child that wishes a group restart; an escalation ends the group.
    async fn next_failure(&self) -> Result<(Arc<Child>, Duration), GiveUp> {
        loop {
            match self.core.next_group_notice().await {
                Notice::Restart {
                    instance,
                    generation,
                    delay,
                } => {
                    if let Some(failed) = self.waiting(instance, generation) {
                        return Ok((failed, delay));
                    }
                }
                Notice::Escalate(give_up) => return Err(give_up),
                Notice::SignificantEnded | Notice::Stirred => {}
            }
        }
    }

    /// Starts children that wait for their group, each when the one before has started. Does not go on
    /// past one that did not: its notice says what follows, unless somebody takes it out meanwhile.
    async fn start_in_order(&self, members: &[Arc<Child>], delay: Duration) {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        for child in members {
            self.unless_closing().await;
            let gate = child.gate();
            if gate.is_ending() {
                continue;
            }
            if let Some(sibling) = self.held_up_by(child, members) {
                gate.wait_for(sibling.path().shared());
                continue;
            }
            let generation = gate.generation();
            let lingers = child.runs_on();
            gate.hold_for_group(false);
            if child.is_over() {
                // Its task was aborted with a run that did not end otherwise.
                self.revive(child);
            }
            if lingers {
                continue;
            }
            if self.strategy == SupervisionStrategy::OneForOne {
                // It retries in its own task; ready, or down for good, is all there is to wait for.
                if child.starts_explicitly() {
                    self.for_its_start(child, gate.ready()).await;
                }
                continue;
            }
            self.member_started(child, generation).await;
        }
        self.unless_closing().await;
    }

    /// Once the tree shuts down nobody starts any more, and the supervisor's own stop is on its way.
    async fn unless_closing(&self) {
        if self.tree().is_closing() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a member of a group has started, or will not by itself.
    async fn member_started(&self, child: &Child, mut generation: u64) {
        let gate = child.gate();
        let started = async {
            while let StartOutcome::Exited(last) = gate.started(generation).await
                && let Some(RestartAction::RestartGroup { .. } | RestartAction::Stop { .. }) =
                    last.decision.map(|decision| decision.action)
            {
                generation = last.generation;
            }
        };
        self.for_its_start(child, started).await;
    }

    /// Waits for a start. One that nobody bounds, as it waits for a permit or has no watchdog in its stack,
    /// holds up those after it for the child's start timeout only.
    async fn for_its_start<T>(&self, child: &Child, started: impl Future<Output = T>) {
        let gate = child.gate();
        let mut started = std::pin::pin!(started);
        let Some(limit) = child.start_timeout() else {
            started.await;
            return;
        };
        let deadlines = &self.tree().deadlines;
        while deadlines
            .within(after(Instant::now(), limit), started.as_mut())
            .await
            .is_none()
        {
            let unbounded = gate.start_timeout().is_none();
            if unbounded || gate.status() == ChildStatus::Waiting {
                return;
            }
        }
    }

    async fn stop_group(self: &Arc<Self>, members: &[Arc<Child>]) {
        for child in members {
            child.gate().hold_for_group(true);
        }
        for child in members.iter().rev() {
            let generation = child.gate().generation();
            if child.restart_type() == supervisor_layers::RestartType::Temporary {
                child
                    .gate()
                    .end(StopCause::Removal, self.stop_request(child));
                match self.settle(child, generation).await {
                    // In a shutdown it is accounted for like the others.
                    true if self.tree().is_closing() => {}
                    // Its own task may have been aborted, and not come to that.
                    true => self.forget(child),
                    false => self.dismiss(child),
                }
                continue;
            }
            child
                .gate()
                .stop_run(StopCause::Sibling, self.stop_request(child));
            if !self.settle(child, generation).await {
                // The group goes on without it; its late end lets it run again.
                child.gate().mark_lingering();
                child.gate().hold_for_group(false);
            }
        }
    }

    /// What the stops and starts of now are a consequence of: the tree's shutdown, or what the supervisor
    /// acts on.
    fn cause(&self) -> u64 {
        match self.tree().correlation() {
            0 => self.core.cause(),
            shutdown => shutdown,
        }
    }

    /// How a child's run is stopped now.
    pub(crate) fn stop_request(&self, child: &Child) -> StopRequest {
        self.stopping().request(child)
    }

    /// How runs are stopped now.
    pub(super) fn stopping(&self) -> Stopping {
        let at = Instant::now();
        Stopping {
            at,
            uptime: self.tree().journal.uptime_at(at),
            deadline: after(at, self.grace),
            cap: self.tree().stop_cap(at),
            correlation: self.cause(),
        }
    }
}

/// How runs are stopped that are asked to at one time.
pub(super) struct Stopping {
    pub(super) at: Instant,
    /// The same since the tree started.
    pub(super) uptime: Duration,
    deadline: Instant,
    cap: Instant,
    correlation: u64,
}

impl Stopping {
    /// With a deadline where the child's stack brings no grace of its own.
    pub(super) fn request(&self, child: &Child) -> StopRequest {
        StopRequest {
            at: Some(self.at),
            deadline: (!child.has_grace()).then_some(self.deadline),
            cap: Some(self.cap),
            correlation: self.correlation,
        }
    }
}

/// Why a child has not started.
pub(super) enum NotStarted {
    /// It did not.
    Because(String),
    /// Somebody ended it meanwhile.
    Stopped(StopCause),
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Because(reason) => f.write_str(reason),
            Self::Stopped(cause) => write!(f, "its start was stopped for {cause}"),
        }
    }
}

fn describe(last: &LastExit) -> String {
    match &last.message {
        Some(message) => format!("{}: {message}", last.exit),
        None => format!("{} before it had started", last.exit),
    }
}
