//! Deliveries as they change: a snapshot, then changes, with no gap between.

use crate::record::{Delivery, Id};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Changes a watcher may fall behind by before it is told to look again. 1,024 deliveries are some
/// seconds of a busy endpoint, and at a few hundred bytes each they cost less than 1 MiB.
pub(crate) const BACKLOG: usize = 1024;

/// One step after the snapshot.
#[derive(Clone, Debug)]
pub enum Change {
    /// This delivery is new, or is now like this.
    Changed(Arc<Delivery>),
    /// This delivery is gone: removed, too old, or found to be a retry of another.
    Removed(Id),
    /// The watcher fell behind, or everything changed: take a new snapshot with
    /// [`Store::watch`](crate::Store::watch), and drop this feed for the one that comes with it.
    Reset,
    /// The store is closed. Nothing follows.
    Closed,
}

/// The changes that follow a snapshot; see [`Store::watch`](crate::Store::watch).
#[derive(Debug)]
pub struct Feed {
    changes: broadcast::Receiver<Change>,
}

impl Feed {
    pub(crate) fn new(changes: broadcast::Receiver<Change>) -> Feed {
        Feed { changes }
    }

    /// Waits for the next change. Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Reset,
            Err(broadcast::error::RecvError::Closed) => Change::Closed,
        }
    }
}
