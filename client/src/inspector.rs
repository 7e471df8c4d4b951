//! The one handle through which every face sees what passed and asks for replays.

use crate::delivery::{Deliveries, ReplayError};
use crate::status::Status;
use crate::tui;
use capture::{Delivery, Id, Store};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Replays that run or wait at once. One more is refused.
const REPLAYS: usize = 1_000;

/// What passed, how the tunnel stands, and replays. Clones are the same inspector.
#[derive(Clone, Debug)]
pub struct Inspector {
    deliveries: Arc<Deliveries>,
    status: watch::Receiver<Status>,
    // A lock and not a task: held to add one. The set ends the replays with the inspector.
    replays: Arc<Mutex<JoinSet<()>>>,
}

impl Inspector {
    /// Sees what `deliveries` records.
    pub fn new(deliveries: Arc<Deliveries>, status: watch::Receiver<Status>) -> Inspector {
        Inspector {
            deliveries,
            status,
            replays: Arc::default(),
        }
    }

    /// What is recorded.
    pub fn store(&self) -> &Store {
        &self.deliveries.store
    }

    /// Whether a delivery is of this tunnel: it came to its name, or went to its app. The store may
    /// hold those of other apps of the same person.
    pub fn is_ours(&self, delivery: &Delivery) -> bool {
        let origin = self.deliveries.origin.address().to_string();
        let status = self.status.borrow();
        status.name.as_deref() == Some(delivery.endpoint.as_str())
            || delivery.latest().is_some_and(|a| a.origin == origin)
    }

    /// How the tunnel stands.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Begins to replay the newest request of a delivery. Returns the new attempt's number, and
    /// what tells when it is over.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when there is nothing that could be replayed.
    pub async fn replay(
        &self,
        delivery: Id,
    ) -> Result<(u32, tokio::sync::oneshot::Receiver<()>), ReplayError> {
        if let Some(known) = self.store().delivery(delivery).await?
            && !self.is_ours(&known)
        {
            return Err(ReplayError::Elsewhere {
                id: delivery,
                name: known.endpoint.clone(),
                origin: known
                    .latest()
                    .map_or_else(String::new, |a| a.origin.clone()),
            });
        }
        let replay = self.deliveries.replay(delivery).await?;
        let attempt = replay.attempt();
        let (done, over) = tokio::sync::oneshot::channel();
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        while replays.try_join_next().is_some() {}
        if replays.len() >= REPLAYS {
            return Err(ReplayError::TooMany);
        }
        replays.spawn(async move {
            replay.run().await;
            let _ = done.send(());
        });
        Ok((attempt, over))
    }
}

impl tui::Backend for Inspector {
    fn load(&self, delivery: Id, n: u32) -> tui::Answer<tui::Detail> {
        let store = self.store().clone();
        Box::pin(async move {
            let failed = |error: capture::ReadError| error.to_string();
            let known = store.delivery(delivery).await.map_err(failed)?;
            let attempt = known
                .as_ref()
                .and_then(|d| d.attempts.iter().find(|a| a.n == n));
            let request = match attempt {
                Some(attempt) => store.request(attempt.request).await.map_err(failed)?,
                None => None,
            };
            let request = request.ok_or("this attempt is not in the store any more")?;
            let response = store.response(delivery, n).await.map_err(failed)?;
            Ok(tui::Detail { request, response })
        })
    }

    fn replay(&self, delivery: Id) -> tui::Answer<u32> {
        let inspector = self.clone();
        Box::pin(async move {
            let (attempt, over) = inspector
                .replay(delivery)
                .await
                .map_err(|error| error.to_string())?;
            let _ = over.await;
            Ok(attempt)
        })
    }
}
