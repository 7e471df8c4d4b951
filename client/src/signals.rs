//! What the system asks a running client to do.

use crate::failure::Exit;

/// SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals {
    #[cfg(unix)]
    all: [tokio::signal::unix::Signal; 3],
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            all: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    /// The exit code the signal asks for; `None` for an orderly end.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Option<Exit> {
        let [interrupt, terminate, hangup] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => Some(Exit::Interrupted),
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Option<Exit> {
        let _ = tokio::signal::ctrl_c().await;
        Some(Exit::Interrupted)
    }
}
