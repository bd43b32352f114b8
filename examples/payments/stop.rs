//! What ends the program: its time, Ctrl-C, or SIGTERM.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep_until};

pub struct Stop {
    at: Option<Instant>,
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Stop {
    /// Listens from now on.
    pub fn new(time: Option<Duration>) -> io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            at: time.map(|time| Instant::now() + time),
            #[cfg(unix)]
            signals: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            ],
        })
    }

    /// The time is up, or a signal came.
    pub async fn asked(&mut self) {
        let at = self.at;
        let time = async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = self.asked_again() => {}
        }
    }

    /// A signal came.
    #[cfg(unix)]
    pub async fn asked_again(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    /// A signal came.
    #[cfg(not(unix))]
    pub async fn asked_again(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
