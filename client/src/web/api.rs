//! `/api/v1`: what the commands and the page use, and nothing else.

use crate::inspector::Inspector;
use crate::json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capture::{Change, Id, Resolved};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;

/// Deliveries listed at once at most.
const MOST: usize = 10_000;

pub(super) fn router(inspector: Inspector) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/deliveries", get(list))
        .route("/api/v1/deliveries/{id}", get(delivery))
        .route("/api/v1/deliveries/{id}/attempts/{n}", get(attempt))
        .route("/api/v1/deliveries/{id}/replay", post(replay))
        .route("/api/v1/events", get(events))
        .route("/", get(page::index))
        .route("/inspector.js", get(page::script))
        .route("/inspector.css", get(page::style))
        .with_state(inspector)
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

async fn status(State(inspector): State<Inspector>) -> Json<Value> {
    let now = inspector.status().borrow().clone();
    let mut value = json::status(&now);
    if let Some(map) = value.as_object_mut() {
        map.insert("name".into(), json!(now.name));
        map.insert("url".into(), json!(now.url));
        map.insert("origin".into(), json!(now.origin));
        map.insert(
            "recording".into(),
            json!(inspector.store().health().why().is_none()),
        );
    }
    Json(value)
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

async fn attempt(
    State(inspector): State<Inspector>,
    Path((id, n)): Path<(String, u32)>,
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
    let request = store.request(attempt.request).await?.ok_or_else(gone)?;
    let response = store.response(id, n).await?;
    Ok(Json(json!({
        "attempt": json::attempt(attempt),
        "request": json::request(&request),
        "response": response.as_ref().map(json::response),
    })))
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

/// Server-sent events: `delivery` with the delivery, `removed` with its id, `reset` when the
/// listener must list anew.
async fn events(
    State(inspector): State<Inspector>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (_, feed) = inspector.store().watch();
    let stream = unfold((inspector, feed), |(inspector, mut feed)| async move {
        let event = match feed.next().await {
            Change::Changed(d) => Event::default()
                .event("delivery")
                .data(json::delivery(&d).to_string()),
            Change::Removed(id) => Event::default().event("removed").data(id.to_string()),
            Change::Reset => {
                feed = inspector.store().watch().1;
                Event::default().event("reset").data("")
            }
            Change::Closed => return None,
        };
        Some((Ok(event), (inspector, feed)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// The page: static files, no build step.
mod page {
    use axum::http::header::CONTENT_TYPE;
    use axum::response::IntoResponse;

    pub(super) async fn index() -> impl IntoResponse {
        (
            [(CONTENT_TYPE, "text/html; charset=utf-8")],
            include_str!("assets/index.html"),
        )
    }

    pub(super) async fn script() -> impl IntoResponse {
        (
            [(CONTENT_TYPE, "text/javascript; charset=utf-8")],
            include_str!("assets/inspector.js"),
        )
    }

    pub(super) async fn style() -> impl IntoResponse {
        (
            [(CONTENT_TYPE, "text/css; charset=utf-8")],
            include_str!("assets/inspector.css"),
        )
    }
}
