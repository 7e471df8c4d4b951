//! `/api/v1`: what the commands and the page use, and nothing else.

use crate::inspector::Inspector;
use crate::json;
use crate::state::Running;
use crate::status::Status;
use axum::extract::{FromRef, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capture::{Change, Delivery, Feed, Health, Id, Resolved};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Deliveries listed at once at most.
const MOST: usize = 10_000;

/// Between two `status` events when nothing changes. A page that hears none for three of them says
/// that the client does not answer; nothing else would tell it of a stopped process.
const BEAT: Duration = Duration::from_secs(4);

/// What the handlers read.
#[derive(Clone)]
struct Served {
    inspector: Inspector,
    running: Arc<Running>,
}

impl FromRef<Served> for Inspector {
    fn from_ref(served: &Served) -> Inspector {
        served.inspector.clone()
    }
}

pub(super) fn router(inspector: Inspector, running: Arc<Running>) -> Router {
    let mut router = Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/deliveries", get(list))
        .route("/api/v1/deliveries/{id}", get(delivery))
        .route("/api/v1/deliveries/{id}/attempts/{n}", get(attempt))
        .route("/api/v1/deliveries/{id}/replay", post(replay))
        .route("/api/v1/events", get(events));
    for (path, kind, content) in page::FILES {
        router = router.route(
            path,
            get(move || async move { ([(CONTENT_TYPE, kind)], content) }),
        );
    }
    router.with_state(Served { inspector, running })
}

/// An error as the API tells it: a status and one sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<capture::ReadError> for Refusal {
    fn from(error: capture::ReadError) -> Refusal {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

async fn status(State(served): State<Served>) -> Json<Value> {
    let now = served.inspector.status().borrow().clone();
    Json(standing(&now, &served))
}

/// The tunnel and the record. Not the inspector's own link: it carries the token.
fn standing(now: &Status, served: &Served) -> Value {
    let health = served.inspector.store().health();
    let ca = served.running.ca.as_ref().filter(|_| now.embedded);
    let mut value = json::status(now);
    if let Some(map) = value.as_object_mut() {
        map.insert("name".into(), json!(now.name));
        map.insert("url".into(), json!(now.url));
        map.insert("origin".into(), json!(now.origin));
        map.insert("embedded".into(), json!(now.embedded));
        map.insert(
            "ca".into(),
            json!(ca.map(|path| path.display().to_string())),
        );
        map.insert("recording".into(), json!(health.why().is_none()));
        map.insert("not_recording_why".into(), json!(health.why()));
        map.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    }
    value
}

#[derive(Deserialize)]
struct Wanted {
    limit: Option<usize>,
    #[serde(default)]
    failed: bool,
    text: Option<String>,
}

async fn list(
    State(inspector): State<Inspector>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Refusal> {
    let query = capture::Query {
        limit: wanted.limit.unwrap_or(100).min(MOST),
        failed_only: wanted.failed,
        text: wanted.text,
    };
    let found = inspector.store().list(query).await?;
    let rows: Vec<Value> = found.iter().map(|d| json::delivery(d)).collect();
    Ok(Json(json!({ "deliveries": rows })))
}

/// The delivery that a whole id, or a piece of one, names.
async fn resolve(inspector: &Inspector, text: &str) -> Result<(Id, Id), Refusal> {
    match inspector.store().resolve(text).await? {
        Resolved::Found { delivery, request } => Ok((delivery, request)),
        Resolved::Ambiguous(ids) => {
            let some: Vec<String> = ids.iter().map(Id::to_string).collect();
            let error = format!("more than one id has this piece: {}", some.join(", "));
            Err(Refusal(StatusCode::CONFLICT, error))
        }
        Resolved::Unknown => {
            let error = String::from("no delivery has this id");
            Err(Refusal(StatusCode::NOT_FOUND, error))
        }
    }
}

async fn delivery(
    State(inspector): State<Inspector>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (id, request) = resolve(&inspector, &id).await?;
    let found = inspector.store().delivery(id).await?;
    let found = found
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, String::from("this delivery is gone")))?;
    let mut value = json::delivery(&found);
    if let Some(map) = value.as_object_mut() {
        map.insert("matched".into(), json!(request.to_string()));
    }
    Ok(Json(value))
}

#[derive(Deserialize)]
struct Piece {
    body: Option<usize>,
}

/// One attempt with its exact bytes. With `?body=N`, at most the first N bytes of each body:
/// `body_kept` still tells how many there are.
async fn attempt(
    State(inspector): State<Inspector>,
    Path((id, n)): Path<(String, u32)>,
    Query(Piece { body }): Query<Piece>,
) -> Result<Json<Value>, Refusal> {
    let (id, _) = resolve(&inspector, &id).await?;
    let gone = || {
        Refusal(
            StatusCode::NOT_FOUND,
            format!("this delivery has no attempt {n}"),
        )
    };
    let store = inspector.store();
    let known = store.delivery(id).await?.ok_or_else(gone)?;
    let attempt = known
        .attempts
        .iter()
        .find(|attempt| attempt.n == n)
        .ok_or_else(gone)?;
    let mut request = store.request(attempt.request).await?.ok_or_else(gone)?;
    let mut response = store.response(id, n).await?;
    let kept = (
        shorten(&mut request.body, body),
        response.as_mut().map(|r| shorten(&mut r.body, body)),
    );
    let mut value = json!({
        "attempt": json::attempt(attempt),
        "request": json::request(&request),
        "response": response.as_ref().map(json::response),
    });
    value["request"]["body_kept"] = json!(kept.0);
    if let Some(kept) = kept.1 {
        value["response"]["body_kept"] = json!(kept);
    }
    Ok(Json(value))
}

/// Cuts what is shown of a body to `most` bytes. Returns how many there are.
fn shorten(body: &mut capture::Body, most: Option<usize>) -> usize {
    let kept = body.bytes.len();
    body.bytes.truncate(most.unwrap_or(kept));
    kept
}

async fn replay(
    State(inspector): State<Inspector>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (id, _) = resolve(&inspector, &id).await?;
    let conflict = |error: String| Refusal(StatusCode::CONFLICT, error);
    let (n, over) = inspector
        .replay(id)
        .await
        .map_err(|error| conflict(error.to_string()))?;
    let _ = over.await;
    let known = inspector.store().delivery(id).await?;
    let attempt = known
        .as_ref()
        .and_then(|d| d.attempts.iter().find(|a| a.n == n));
    let attempt =
        attempt.ok_or_else(|| conflict(String::from("the replay is not in the store")))?;
    Ok(Json(json::attempt(attempt)))
}

#[derive(Deserialize)]
struct Listen {
    snapshot: Option<usize>,
}

/// Server-sent events: `status` at once, whenever it changes and every four seconds; `delivery`
/// with the delivery; `removed` with its id; `reset` when the listener fell behind and must list
/// anew.
///
/// With `?snapshot=N` it need not list: `snapshot` with the newest N deliveries, oldest first, and
/// the count of all comes before the first change, and again after each `reset`.
async fn events(
    State(served): State<Served>,
    Query(Listen { snapshot }): Query<Listen>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = unfold(Events::new(served, snapshot), |mut events| async move {
        let event = events.next().await?;
        Some((Ok(event), events))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// What one listener hears.
struct Events {
    served: Served,
    feed: Feed,
    status: watch::Receiver<Status>,
    health: watch::Receiver<Health>,
    beat: Interval,
    /// Deliveries in a snapshot at most, for a listener that wants one.
    snapshot: Option<usize>,
    /// What is sent before the next change; never more than two.
    ready: VecDeque<Event>,
}

impl Events {
    fn new(served: Served, snapshot: Option<usize>) -> Events {
        let (mut deliveries, feed) = served.inspector.store().watch();
        deliveries.retain(|delivery| served.inspector.is_ours(delivery));
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        let mut events = Events {
            status: served.inspector.status(),
            health: served.inspector.store().health_changes(),
            served,
            feed,
            beat,
            snapshot: snapshot.map(|most| most.min(MOST)),
            ready: VecDeque::new(),
        };
        let status = events.status();
        events.ready.push_back(status);
        events.ready.extend(events.snapshot_of(&deliveries));
        events
    }

    /// `None` once the store is closed. Each branch is safe to cancel, and they take turns: a
    /// burst of deliveries does not hide that the tunnel is gone.
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        loop {
            return tokio::select! {
                change = self.feed.next() => match change {
                    // Of another app of the same person.
                    Change::Changed(delivery) if !self.served.inspector.is_ours(&delivery) => continue,
                    Change::Changed(delivery) => Some(
                        Event::default()
                            .event("delivery")
                            .data(json::delivery(&delivery).to_string()),
                    ),
                    Change::Removed(id) => {
                        Some(Event::default().event("removed").data(id.to_string()))
                    }
                    Change::Reset => {
                        let (mut deliveries, feed) = self.served.inspector.store().watch();
                        deliveries.retain(|d| self.served.inspector.is_ours(d));
                        self.feed = feed;
                        self.ready.extend(self.snapshot_of(&deliveries));
                        // A browser drops an event without data.
                        Some(Event::default().event("reset").data("{}"))
                    }
                    Change::Closed => None,
                },
                Ok(()) = self.status.changed() => Some(self.status()),
                Ok(()) = self.health.changed() => Some(self.status()),
                _ = self.beat.tick() => Some(self.status()),
            };
        }
    }

    fn status(&mut self) -> Event {
        let now = self.status.borrow_and_update().clone();
        self.beat.reset();
        Event::default()
            .event("status")
            .data(standing(&now, &self.served).to_string())
    }

    fn snapshot_of(&self, deliveries: &[Arc<Delivery>]) -> Option<Event> {
        let older = deliveries.len().saturating_sub(self.snapshot?);
        let newest = deliveries.iter().skip(older);
        let rows: Vec<Value> = newest.map(|d| json::delivery(d)).collect();
        let value = json!({ "total": deliveries.len(), "deliveries": rows });
        Some(Event::default().event("snapshot").data(value.to_string()))
    }
}

/// The page: static files, no build step.
mod page {
    const HTML: &str = "text/html; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const SVG: &str = "image/svg+xml";

    /// Path, type and content.
    pub(super) const FILES: [(&str, &str, &str); 11] = [
        ("/", HTML, include_str!("assets/index.html")),
        ("/inspector.css", CSS, include_str!("assets/inspector.css")),
        ("/icon.svg", SVG, include_str!("assets/icon.svg")),
        ("/inspector.js", SCRIPT, include_str!("assets/inspector.js")),
        ("/body.js", SCRIPT, include_str!("assets/body.js")),
        ("/client.js", SCRIPT, include_str!("assets/client.js")),
        ("/detail.js", SCRIPT, include_str!("assets/detail.js")),
        ("/dom.js", SCRIPT, include_str!("assets/dom.js")),
        ("/model.js", SCRIPT, include_str!("assets/model.js")),
        ("/text.js", SCRIPT, include_str!("assets/text.js")),
        ("/words.js", SCRIPT, include_str!("assets/words.js")),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Deliveries, Forwarding, HostHeader};
    use crate::guard::{Guard, OnInvalid};
    use crate::origin::{Address, Origin};
    use crate::status::State as Tunnel;
    use bytes::Bytes;
    use capture::{Arrival, BodyEnd, Limits, Received, Store, Timestamp};
    use signature::Catalogue;
    use std::collections::BTreeMap;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    #[tokio::test]
    async fn events_begin_with_the_status_and_the_newest_deliveries() {
        let served = Api::spawn().await;
        for n in 0..3 {
            served.record(n, b"");
        }
        let mut events = served.listen("/api/v1/events?snapshot=2").await;
        let status = events.next("status").await;
        assert_eq!(status["state"], "online");
        let snapshot = events.next("snapshot").await;
        assert_eq!(snapshot["total"], 3);
        let paths: Vec<_> = snapshot["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["path"].clone())
            .collect();
        assert_eq!(paths, ["/1", "/2"]);

        served.record(3, b"");
        assert_eq!(events.next("delivery").await["path"], "/3");
    }

    #[tokio::test]
    async fn events_tell_at_once_that_the_tunnel_is_lost() {
        let served = Api::spawn().await;
        let mut events = served.listen("/api/v1/events").await;
        assert_eq!(events.next("status").await["state"], "online");
        served.status.send_modify(|status| {
            status.state = Tunnel::Reconnecting {
                tries: 2,
                next_try: Instant::now() + Duration::from_secs(60),
            };
            status.reason = Some(String::from("the relay is not reachable"));
        });
        let status = events.next("status").await;
        assert_eq!(status["state"], "reconnecting");
        assert_eq!(status["tries"], 2);
        assert_eq!(status["reason"], "the relay is not reachable");
    }

    #[tokio::test]
    async fn the_status_does_not_tell_the_token() {
        let served = Api::spawn().await;
        let status = served.get("/api/v1/status").await;
        assert!(status.contains("https://brave-otter.localhost:8443"));
        assert!(!status.contains(TOKEN), "{status}");
    }

    #[tokio::test]
    async fn a_body_is_cut_where_asked_and_its_length_told() {
        let served = Api::spawn().await;
        let id = served.record(0, b"0123456789");
        served.inspector.store().flush().await;
        for (query, base64) in [
            ("?body=3", "MDEy"),
            ("", "MDEyMzQ1Njc4OQ=="),
            ("?body=99", "MDEyMzQ1Njc4OQ=="),
        ] {
            let path = format!("/api/v1/deliveries/{id}/attempts/1{query}");
            let value: Value = serde_json::from_str(&served.get(&path).await).unwrap();
            let request = &value["request"];
            assert_eq!(request["body_base64"], base64, "{query}");
            assert_eq!(request["body_kept"], 10, "{query}");
            assert_eq!(request["body_bytes"], 10, "{query}");
        }
    }

    #[test]
    fn the_page_makes_no_markup_and_asks_nobody_else() {
        let script = |(path, _, _): &&(&str, &str, &str)| path.ends_with(".js");
        for (path, _, content) in page::FILES.iter().filter(script) {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "https://",
            ] {
                assert!(!content.contains(word), "{path}: {word}");
            }
            let imports = content
                .lines()
                .filter_map(|line| line.strip_prefix("import ")?.split('"').nth(1));
            for import in imports {
                let wanted = import.trim_start_matches('.');
                let served = page::FILES.iter().any(|(path, ..)| *path == wanted);
                assert!(served, "{path} imports {import}");
            }
        }
        let (_, _, html) = page::FILES[0];
        assert!(!html.contains("style=") && !html.contains("onclick"));
    }

    const TOKEN: &str = "0123456789abcdef";

    /// The API without the door, on a port of its own.
    struct Api {
        inspector: Inspector,
        status: watch::Sender<Status>,
        port: u16,
        _task: JoinSet<()>,
    }

    impl Api {
        async fn spawn() -> Api {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (catalogue, keys) = (Catalogue::builtin(), BTreeMap::new());
            let deliveries = Deliveries {
                store: Store::in_memory(Limits::default()),
                guard: Guard::new(catalogue, Vec::new(), keys, OnInvalid::Flag, Vec::new()),
                origin: Origin::new(Address::parse("3000").unwrap()),
                forwarding: Forwarding {
                    timeout: None,
                    host: HostHeader::Preserve,
                    add: Vec::new(),
                    remove: Vec::new(),
                },
            };
            let (status, _) = watch::channel(Status {
                state: Tunnel::Online,
                reason: None,
                name: Some(String::from("brave-otter")),
                url: Some(String::from("https://brave-otter.localhost:8443")),
                origin: String::from("http://localhost:3000"),
                inspector: Some(format!("http://{address}/?token={TOKEN}")),
                transport: Some("quic"),
                rtt: None,
                since: Instant::now(),
                reconnects: 0,
                embedded: true,
            });
            let inspector = Inspector::new(Arc::new(deliveries), status.subscribe());
            let running = Running {
                address,
                token: String::from(TOKEN),
                pid: 1,
                name: None,
                url: None,
                origin: String::new(),
                ca: None,
            };
            let router = router(inspector.clone(), Arc::new(running));
            let mut task = JoinSet::new();
            task.spawn(async move { axum::serve(listener, router).await.unwrap() });
            Api {
                inspector,
                status,
                port: address.port(),
                _task: task,
            }
        }

        /// Records a delivery to `/n` that the app answered with 200.
        fn record(&self, n: u32, body: &'static [u8]) -> Id {
            let id = Id::new(Timestamp(1_700_000_000_000_000 + i64::from(n)), n);
            let mut recorder = self.inspector.store().arrived(Arrival {
                id,
                at: Timestamp::now(),
                endpoint: String::from("brave-otter"),
                public_origin: String::from("https://brave-otter.localhost:8443"),
                remote: String::from("203.0.113.9:40000"),
                version: "HTTP/1.1",
                method: String::from("POST"),
                target: format!("/{n}"),
                fields: Vec::new(),
                origin: String::from("http://localhost:3000"),
            });
            recorder.request_body(&Bytes::from_static(body));
            recorder.request_end(Vec::new(), BodyEnd::Whole, Received::unknown());
            recorder.response_head(200, String::from("OK"), Vec::new());
            recorder.response_end(Vec::new());
            id
        }

        async fn connect(&self, path: &str) -> TcpStream {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        }

        /// The body of an answer.
        async fn get(&self, path: &str) -> String {
            let mut text = String::new();
            let mut stream = self.connect(path).await;
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
            text.split_once("\r\n\r\n").unwrap().1.to_owned()
        }

        async fn listen(&self, path: &str) -> Heard {
            Heard {
                stream: self.connect(path).await,
                text: String::new(),
            }
        }
    }

    struct Heard {
        stream: TcpStream,
        text: String,
    }

    impl Heard {
        /// The data of the next event of this name; others are passed over.
        async fn next(&mut self, name: &str) -> Value {
            let begin = format!("event: {name}\ndata: ");
            let wait = async {
                loop {
                    let found = self.text.split_once(&begin).and_then(|(_, rest)| {
                        let (data, rest) = rest.split_once("\n\n")?;
                        Some((serde_json::from_str(data).unwrap(), rest.to_owned()))
                    });
                    if let Some((data, rest)) = found {
                        self.text = rest;
                        return data;
                    }
                    let mut chunk = [0; 4096];
                    let n = self.stream.read(&mut chunk).await.unwrap();
                    assert!(n > 0, "the stream ended: {}", self.text);
                    self.text
                        .push_str(std::str::from_utf8(&chunk[..n]).unwrap());
                }
            };
            timeout(Duration::from_secs(10), wait).await.unwrap()
        }
    }
}
