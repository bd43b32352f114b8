use tokio::time::Instant;

use super::SupervisorHandle;
use crate::{SupervisorError, control::RuntimeExitReport};

impl SupervisorHandle {
    /// Waits until the tree has ended, for whatever reason. Ctrl-C (SIGINT) or SIGTERM shuts it down; a
    /// second signal aborts what has not ended.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Signal`] where signals cannot be listened to.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropped, signals do what they did before, and the tree goes on.
    pub async fn shutdown_on_signal(&self) -> Result<RuntimeExitReport, SupervisorError> {
        Ok(self.end_on(&mut Signals::listen()?).await)
    }

    pub(super) async fn end_on(&self, signals: &mut Signals) -> RuntimeExitReport {
        let ended = self.ended();
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                report = &mut ended => return report,
                nth = signals.next() => match nth {
                    1 => {
                        self.tree().request_shutdown(None);
                    }
                    _ => self.tree().limit(Instant::now()),
                }
            }
        }
    }
}

/// The signals that end a program, counted: the first may have come before there was a handle.
pub(super) struct Signals {
    sources: Sources,
    heard: u32,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, SupervisorError> {
        Ok(Self {
            sources: Sources::listen()?,
            heard: 0,
        })
    }

    /// Waits for the next one; which it is, from 1.
    pub(super) async fn next(&mut self) -> u32 {
        self.sources.next().await;
        self.heard = self.heard.saturating_add(1);
        self.heard
    }
}

#[cfg(unix)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Sources {
    fn listen() -> Result<Self, SupervisorError> {
        use tokio::signal::unix::{SignalKind, signal};

        let listen =
            |kind| signal(kind).map_err(|error| SupervisorError::Signal(error.to_string()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn listen() -> Result<Self, SupervisorError> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Where Ctrl-C cannot be listened to there is no signal to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
