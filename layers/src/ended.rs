use crate::{StopCause, TaskContext};

/// How a layer saw the run inside it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    Failed,
    /// Its future was dropped: by a timeout around it, after a panic, or with the whole life.
    Dropped,
}

/// What a layer does at the end of a run.
pub(crate) trait AtEnd {
    fn at_end(&self, ctx: &TaskContext, ended: Ended);
}

/// Calls a layer exactly once at the end of a run, however it ends.
pub(crate) struct EndGuard<N: AtEnd> {
    ctx: TaskContext,
    pub(crate) note: N,
    armed: bool,
}

impl<N: AtEnd> EndGuard<N> {
    pub(crate) fn new(ctx: TaskContext, note: N) -> Self {
        Self {
            ctx,
            note,
            armed: true,
        }
    }

    pub(crate) fn ended<T, E>(&mut self, result: &Result<T, E>) {
        // A run that returns because it was found unhealthy has not completed.
        let unhealthy = self.ctx.stop_cause() == Some(StopCause::Unhealthy);
        self.end(if result.is_ok() && !unhealthy {
            Ended::Completed
        } else {
            Ended::Failed
        });
    }

    fn end(&mut self, ended: Ended) {
        if std::mem::take(&mut self.armed) {
            self.note.at_end(&self.ctx, ended);
        }
    }
}

impl<N: AtEnd> Drop for EndGuard<N> {
    fn drop(&mut self) {
        self.end(Ended::Dropped);
    }
}
