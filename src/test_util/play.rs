use std::{future::pending, sync::Arc, time::Duration};

use supervisor_layers::{TaskContext, TaskFailure, TaskResult};

use super::script::Shared;

/// What one run does.
#[derive(Debug, Clone)]
pub(super) struct Play {
    pub(super) end: End,
    /// How long it goes on before it ends by itself.
    pub(super) lasts: Duration,
    /// When it says that it is ready, if it does.
    pub(super) ready: Option<Duration>,
    /// How long it takes to stop, if it listens.
    pub(super) stops: Option<Duration>,
    /// How long it shows signs of life, if not all the time.
    pub(super) beats_for: Option<Duration>,
}

/// How a run ends.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// Not by itself.
    Stopped,
    Fails(Arc<str>),
    FailsFatally(Arc<str>),
    Panics(Arc<str>),
    Completes,
}

impl Play {
    pub(super) fn new(end: End) -> Self {
        Self {
            end,
            lasts: Duration::ZERO,
            ready: Some(Duration::ZERO),
            stops: Some(Duration::ZERO),
            beats_for: None,
        }
    }
}

impl End {
    fn come(self) -> TaskResult {
        match self {
            Self::Stopped | Self::Completes => Ok(()),
            Self::Fails(message) => Err((*message).into()),
            Self::FailsFatally(message) => Err(TaskFailure::fatal(&*message).into()),
            Self::Panics(message) => panic!("{message}"),
        }
    }
}

/// One run, from its beginning to its end.
pub(super) async fn play(play: &Play, ctx: &TaskContext, shared: &Shared) -> TaskResult {
    if play.ready == Some(Duration::ZERO) {
        ctx.mark_ready();
    }
    let by_itself = async {
        if matches!(play.end, End::Stopped) {
            pending::<()>().await;
        }
        match play.lasts {
            // Pending once: it has started. One that is never ready ends before.
            Duration::ZERO if play.ready.is_some() => tokio::task::yield_now().await,
            lasts => pass(lasts).await,
        }
    };
    let stopped = async {
        match play.stops {
            Some(takes) => {
                ctx.cancelled().await;
                pass(takes).await;
            }
            None => pending().await,
        }
    };
    let becomes_ready = async {
        if let Some(after) = play.ready.filter(|after| !after.is_zero()) {
            tokio::time::sleep(after).await;
            ctx.mark_ready();
        }
        pending::<()>().await;
    };
    tokio::select! {
        biased;
        end = shared.order() => end.come(),
        () = stopped => Ok(()),
        () = by_itself => play.end.clone().come(),
        () = becomes_ready => Ok(()),
        () = beats(ctx, play.beats_for) => Ok(()),
    }
}

/// Signs of life, as often as they are asked for; never ends.
async fn beats(ctx: &TaskContext, lasts: Option<Duration>) {
    let Some(every) = ctx.heartbeat_interval() else {
        return pending().await;
    };
    let beat = async {
        loop {
            ctx.heartbeat();
            tokio::time::sleep(every).await;
        }
    };
    match lasts {
        Some(lasts) => {
            let _ = tokio::time::timeout(lasts, beat).await;
            pending::<()>().await;
        }
        None => beat.await,
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
