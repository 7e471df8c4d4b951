//! Recorded deliveries as the commands of another terminal see them: through a running client's
//! local API, or on the store itself when none runs. Both give the shapes of [`crate::json`].

use crate::delivery::{Deliveries, Forwarding, HostHeader};
use crate::failure::{Exit, Failure};
use crate::guard::{Guard, OnInvalid};
use crate::http::{Request, RequestError, Response, Trust, Url, request};
use crate::json;
use crate::origin::{Address, Origin};
use crate::state::{Running, State};
use bytes::Bytes;
use capture::{Id, Query, Resolved, Store};
use serde_json::Value;
use signature::Catalogue;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A local client answers at once; a replay may take as long as its app.
const ANSWER: Duration = Duration::from_secs(10);
const REPLAY: Duration = Duration::from_secs(3600);

/// Where recorded deliveries are.
#[derive(Debug)]
pub enum Records {
    /// In a running client.
    Running(Running),
    /// On disk; no client runs.
    AtRest(Store),
}

const SEE: &str = "see them with: client list";

/// Why there is no such record, ready to be shown.
fn unknown(id: &str) -> Failure {
    Failure::new(Exit::Failed, format!("no delivery has the id {id:?}")).hint(SEE)
}

impl Records {
    /// The records of `--store`, `ADIT_STORE`, or the default folder: of the newest client that
    /// runs on them, else at rest.
    ///
    /// # Errors
    ///
    /// When the folder is of no use.
    pub async fn open(store: Option<&str>) -> Result<Records, Failure> {
        let folder = folder(store)?;
        if let Some(running) = running(&folder).await {
            return Ok(Records::Running(running));
        }
        if store.is_some() && !folder.join(capture::FILE_NAME).exists() {
            let shown = folder.display();
            return Err(Failure::new(
                Exit::Configuration,
                format!("nothing is recorded in {shown}"),
            )
            .hint("see --store and ADIT_STORE"));
        }
        Ok(Records::AtRest(crate::commands::http::open_store(&folder)?))
    }

    /// The certificate to trust for the URLs of a running client, where a private CA made it.
    pub fn ca(&self) -> Option<&Path> {
        match self {
            Records::Running(running) => running.ca.as_deref(),
            Records::AtRest(_) => None,
        }
    }

    /// Whether a delivery is of the app that a replay from here would reach.
    pub fn is_ours(&self, delivery: &Value) -> bool {
        let Records::Running(running) = self else {
            return true;
        };
        let newest = delivery["attempts"].as_array().and_then(|a| a.last());
        let origin = newest.and_then(|attempt| attempt["origin"].as_str());
        delivery["name"].as_str() == running.name.as_deref()
            || origin == Some(running.origin.as_str())
    }

    /// Deliveries, newest last.
    ///
    /// # Errors
    ///
    /// When the client or the store does not answer.
    pub async fn list(&self, query: Query) -> Result<Vec<Value>, Failure> {
        match self {
            Records::Running(running) => {
                let mut path = format!("/api/v1/deliveries?limit={}", query.limit);
                if query.failed_only {
                    path.push_str("&failed=true");
                }
                if let Some(text) = &query.text {
                    path.push_str(&format!("&text={}", percent(text)));
                }
                let answer = ask(running, "GET", &path, ANSWER).await?;
                Ok(answer["deliveries"].as_array().cloned().unwrap_or_default())
            }
            Records::AtRest(store) => {
                let found = store.list(query).await.map_err(unreadable)?;
                Ok(found
                    .iter()
                    .map(|delivery| json::delivery(delivery))
                    .collect())
            }
        }
    }

    /// One delivery, by its id or a piece of it.
    ///
    /// # Errors
    ///
    /// When none, or more than one, has it.
    pub async fn delivery(&self, id: &str) -> Result<Value, Failure> {
        match self {
            Records::Running(running) => {
                ask(
                    running,
                    "GET",
                    &format!("/api/v1/deliveries/{}", percent(id)),
                    ANSWER,
                )
                .await
            }
            Records::AtRest(store) => {
                let (delivery, matched) = resolve(store, id).await?;
                let found = store.delivery(delivery).await.map_err(unreadable)?;
                let found = found.ok_or_else(|| unknown(id))?;
                let mut value = json::delivery(&found);
                value["matched"] = Value::String(matched.to_string());
                Ok(value)
            }
        }
    }

    /// One attempt with its exact bytes: `attempt`, `request`, `response`.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn attempt(&self, delivery: &str, n: u64) -> Result<Value, Failure> {
        match self {
            Records::Running(running) => {
                let path = format!("/api/v1/deliveries/{}/attempts/{n}", percent(delivery));
                ask(running, "GET", &path, ANSWER).await
            }
            Records::AtRest(store) => {
                let (id, _) = resolve(store, delivery).await?;
                let found = store.delivery(id).await.map_err(unreadable)?;
                let found = found.ok_or_else(|| unknown(delivery))?;
                let attempt = found.attempts.iter().find(|a| u64::from(a.n) == n);
                let attempt = attempt.ok_or_else(|| unknown(delivery))?;
                let request = store.request(attempt.request).await.map_err(unreadable)?;
                let request = request.ok_or_else(|| unknown(delivery))?;
                let response = store.response(id, attempt.n).await.map_err(unreadable)?;
                Ok(serde_json::json!({
                    "attempt": json::attempt(attempt),
                    "request": json::request(&request),
                    "response": response.as_ref().map(json::response),
                }))
            }
        }
    }

    /// Replays a delivery to its app and waits for the end: the new attempt.
    ///
    /// # Errors
    ///
    /// When it cannot be replayed.
    pub async fn replay(&self, delivery: &str, to: Option<&Address>) -> Result<Value, Failure> {
        match self {
            Records::Running(running) if to.is_none() => {
                let path = format!("/api/v1/deliveries/{}/replay", percent(delivery));
                ask(running, "POST", &path, REPLAY).await
            }
            Records::Running(_) => Err(Failure::new(
                Exit::Usage,
                "a running client replays to its own app only",
            )
            .hint("stop it, or leave --to out")),
            Records::AtRest(store) => {
                let (id, _) = resolve(store, delivery).await?;
                let found = store.delivery(id).await.map_err(unreadable)?;
                let found = found.ok_or_else(|| unknown(delivery))?;
                let address = match (to, found.latest()) {
                    (Some(address), _) => address.clone(),
                    (None, Some(attempt)) => Address::parse(&attempt.origin)
                        .map_err(|what| Failure::new(Exit::Failed, what))?,
                    (None, None) => return Err(unknown(delivery)),
                };
                let deliveries = Arc::new(Deliveries {
                    store: store.clone(),
                    guard: Guard::new(
                        Catalogue::builtin(),
                        Vec::new(),
                        BTreeMap::new(),
                        OnInvalid::Flag,
                        Vec::new(),
                    ),
                    origin: Origin::new(address),
                    forwarding: Forwarding {
                        timeout: None,
                        host: HostHeader::Preserve,
                        add: Vec::new(),
                        remove: Vec::new(),
                    },
                });
                let replay = deliveries
                    .replay(id)
                    .await
                    .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
                let n = replay.attempt();
                replay.run().await;
                store.flush().await;
                let found = store.delivery(id).await.map_err(unreadable)?;
                let attempt = found
                    .as_ref()
                    .and_then(|d| d.attempts.iter().find(|a| a.n == n));
                attempt.map(json::attempt).ok_or_else(|| unknown(delivery))
            }
        }
    }
}

/// The folder of recorded requests.
///
/// # Errors
///
/// When there is none.
pub fn folder(store: Option<&str>) -> Result<PathBuf, Failure> {
    match store {
        Some("off") => Err(Failure::new(
            Exit::Usage,
            "with --store off nothing is kept to look at",
        )),
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(State::open()?.folder().to_owned()),
    }
}

/// The newest client that runs on `folder` and answers.
pub async fn running(folder: &Path) -> Option<Running> {
    for (file, running) in Running::all(folder) {
        match tokio::net::TcpStream::connect(running.address).await {
            Ok(_) => {}
            Err(error) => {
                // Nothing listens there: left behind by a client that was killed.
                if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    let _ = std::fs::remove_file(file);
                }
                continue;
            }
        }
        // One that is stopped or busy keeps its file.
        let asked = ask(&running, "GET", "/api/v1/status", Duration::from_secs(2));
        if asked.await.is_ok() {
            return Some(running);
        }
    }
    None
}

async fn resolve(store: &Store, id: &str) -> Result<(Id, Id), Failure> {
    match store.resolve(id).await.map_err(unreadable)? {
        Resolved::Found { delivery, request } => Ok((delivery, request)),
        Resolved::Unknown => Err(unknown(id)),
        Resolved::Ambiguous(ids) => {
            let some: Vec<String> = ids.iter().map(Id::to_string).collect();
            Err(Failure::new(
                Exit::Failed,
                format!("more than one id has the piece {id:?}"),
            )
            .hint(format!("say which: {}", some.join(", "))))
        }
    }
}

#[allow(clippy::needless_pass_by_value)]
fn unreadable(error: capture::ReadError) -> Failure {
    Failure::from_error(Exit::Failed, &error)
}

async fn ask(
    running: &Running,
    method: &str,
    path: &str,
    limit: Duration,
) -> Result<Value, Failure> {
    let gone = |error: &RequestError| {
        Failure::new(
            Exit::Failed,
            format!("the client at {} does not answer", running.address),
        )
        .because(error)
    };
    let url = Url::parse(&format!("http://{}{path}", running.address))
        .map_err(|what| Failure::new(Exit::Failed, what))?;
    let asked = Request {
        method: method.to_owned(),
        url,
        fields: vec![(
            String::from("Authorization"),
            format!("Bearer {}", running.token),
        )],
        body: Bytes::new(),
    };
    let answer: Response = request(&asked, &Trust::web(), limit)
        .await
        .map_err(|error| gone(&error))?;
    let value: Value = serde_json::from_slice(&answer.body).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the client at {} gave no JSON", running.address),
        )
        .because(&error)
    })?;
    match answer.status {
        200 => Ok(value),
        status => {
            let what = value["error"].as_str().unwrap_or("refused").to_owned();
            let failure = Failure::new(Exit::Failed, what);
            Err(match status {
                404 => failure.hint(SEE),
                _ => failure,
            })
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| match b.is_ascii_alphanumeric() || b"-_.".contains(&b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}
