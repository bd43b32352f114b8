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
        let mut asked = false;
        loop {
            tokio::select! {
                report = &mut ended => return report,
                () = signals.next() => {
                    if std::mem::replace(&mut asked, true) {
                        self.tree().limit(Instant::now());
                    } else {
                        self.tree().request_shutdown(None);
                    }
                }
            }
        }
    }
}

#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn listen() -> Result<Self, SupervisorError> {
        use tokio::signal::unix::{SignalKind, signal};

        let listen =
            |kind| signal(kind).map_err(|error| SupervisorError::Signal(error.to_string()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn listen() -> Result<Self, SupervisorError> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) {
        // Where Ctrl-C cannot be listened to there is no signal to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
