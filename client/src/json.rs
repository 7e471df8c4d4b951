//! What scripts read: one shape for NDJSON, the local API and `--json`.
//!
//! Times are RFC 3339 in UTC, durations milliseconds. Readers must ignore fields they do not know.

use crate::status::{State, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use capture::{Attempt, Body, BodyEnd, Delivery, Fields, Outcome, Request, Response, Retry};
use proxy::http1::{BodyEncoding, put_field};
use serde_json::{Map, Value, json};
use signature::Judgement;
use std::time::Duration;

/// Milliseconds with microseconds behind the point.
pub fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `{"type":"tunnel",…}`: the public URL stands.
pub fn tunnel(status: &Status) -> Value {
    json!({
        "type": "tunnel",
        "name": status.name,
        "url": status.url,
        "origin": status.origin,
        "inspector": status.inspector,
        "transport": status.transport,
        "embedded": status.embedded,
    })
}

/// `{"type":"status",…}`.
pub fn status(status: &Status) -> Value {
    let mut value = json!({
        "type": "status",
        "state": status.state.as_str(),
        "transport": status.transport,
        "rtt_ms": status.rtt.map(ms),
        "reason": status.reason,
        "reconnects": status.reconnects,
    });
    if let (State::Reconnecting { tries, next_try }, Some(map)) =
        (&status.state, value.as_object_mut())
    {
        let left = next_try.saturating_duration_since(std::time::Instant::now());
        map.insert("tries".into(), json!(tries));
        map.insert("next_try_ms".into(), json!(ms(left)));
    }
    value
}

/// `{"type":"request",…}`: a request came to its end.
pub fn request_line(delivery: &Delivery, attempt: &Attempt) -> Value {
    json!({
        "type": "request",
        "id": attempt.request.to_string(),
        "delivery": delivery.id.to_string(),
        "at": attempt.at.rfc3339(),
        "method": delivery.method,
        "path": delivery.target,
        "provider": delivery.provider,
        "event": delivery.event,
        "remote": delivery.remote,
        "bytes": delivery.bytes,
    })
}

/// `{"type":"response",…}`: an attempt is over.
pub fn response_line(delivery: &Delivery, attempt: &Attempt) -> Value {
    let mut value = json!({
        "type": "response",
        "id": attempt.request.to_string(),
        "delivery": delivery.id.to_string(),
    });
    if let Some(map) = value.as_object_mut() {
        map.append(&mut outcome(attempt));
        map.append(&mut judgement(&attempt.signature));
    }
    value
}

fn outcome(attempt: &Attempt) -> Map<String, Value> {
    let (bytes, cause, error, may_have_run) = match &attempt.outcome {
        Outcome::Pending => (None, None, None, None),
        Outcome::Answered { bytes, .. } => (Some(*bytes), None, None, None),
        Outcome::Failed {
            cause,
            why,
            may_have_run,
            ..
        } => (
            None,
            Some(cause.clone()),
            Some(why.clone()),
            Some(*may_have_run),
        ),
    };
    let value = json!({
        "attempt": attempt.n,
        "trigger": attempt.trigger.as_str(),
        "status": attempt.outcome.status(),
        "ms": attempt.duration().map(ms),
        "bytes": bytes,
        "cause": cause,
        "error": error,
        "may_have_run": may_have_run,
    });
    object(value)
}

fn judgement(judgement: &Judgement) -> Map<String, Value> {
    object(json!({
        "signature": judgement.verdict.as_str(),
        "why": judgement.why,
        "hint": judgement.hint.as_ref().map(|hint| hint.sentence.clone()),
        "hint_code": judgement.hint.as_ref().map(|hint| hint.code.clone()),
        "reading": judgement.reading,
        "secret": judgement.secret,
    }))
}

/// A value as one line that a terminal shows and does not obey: JSON escapes only C0, so C1 and
/// what reorders or hides text are escaped here. A reader gets the same value.
pub fn line(value: &Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || crate::text::is_hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `{"type":"delivery",…}` with every attempt.
pub fn delivery(delivery: &Delivery) -> Value {
    let latest = delivery.latest();
    let attempts: Vec<Value> = delivery.attempts.iter().map(attempt).collect();
    let mut value = json!({
        "type": "delivery",
        "id": delivery.id.to_string(),
        "at": delivery.at.rfc3339(),
        "name": delivery.endpoint,
        "method": delivery.method,
        "path": delivery.target,
        "provider": delivery.provider,
        "event": delivery.event,
        "remote": delivery.remote,
        "request_bytes": delivery.bytes,
        "failed": delivery.is_failed(),
    });
    if let (Some(map), Some(latest)) = (value.as_object_mut(), latest) {
        map.append(&mut outcome(latest));
        map.append(&mut judgement(&latest.signature));
        map.insert("attempts".into(), attempts.into());
        map.insert("retry".into(), retry(&delivery.retry));
    }
    value
}

/// One attempt of a delivery.
pub fn attempt(attempt: &Attempt) -> Value {
    let timing = &attempt.timing;
    let mut map = outcome(attempt);
    map.insert("id".into(), attempt.request.to_string().into());
    map.insert("at".into(), attempt.at.rfc3339().into());
    map.insert("origin".into(), attempt.origin.clone().into());
    map.insert("note".into(), attempt.note.clone().into());
    map.insert(
        "timing".into(),
        json!({
            "received_ms": timing.received.map(ms),
            "connected_ms": timing.connected.map(ms),
            "sent_ms": timing.sent.map(ms),
            "head_ms": timing.head.map(ms),
            "done_ms": timing.done.map(ms),
        }),
    );
    map.append(&mut judgement(&attempt.signature));
    Value::Object(map)
}

fn retry(retry: &Retry) -> Value {
    match retry {
        Retry::Unknown => json!({ "state": "unknown" }),
        Retry::Never => json!({ "state": "never" }),
        Retry::NotDue => json!({ "state": "not-due" }),
        Retry::At { at, number, of } => {
            json!({ "state": "expected", "at": at.rfc3339(), "number": number, "of": of })
        }
        Retry::Exhausted => json!({ "state": "exhausted" }),
    }
}

/// A request with its exact bytes.
pub fn request(request: &Request) -> Value {
    let mut value = json!({
        "id": request.id.to_string(),
        "at": request.at.rfc3339(),
        "name": request.endpoint,
        "url": request.url(),
        "remote": request.remote,
        "version": request.version,
        "method": request.method,
        "path": request.target,
        "headers": fields(&request.fields),
        "trailers": fields(&request.trailers),
        "provider": request.signature.provider,
        "raw_base64": STANDARD.encode(raw_request(request)),
    });
    if let Some(map) = value.as_object_mut() {
        map.append(&mut body(&request.body));
        map.append(&mut judgement(&request.signature));
    }
    value
}

/// An answer with its exact bytes.
pub fn response(response: &Response) -> Value {
    let mut value = json!({
        "status": response.status,
        "reason": response.reason,
        "headers": fields(&response.fields),
        "trailers": fields(&response.trailers),
    });
    if let Some(map) = value.as_object_mut() {
        map.append(&mut body(&response.body));
    }
    value
}

fn body(body: &Body) -> Map<String, Value> {
    object(json!({
        "body_base64": STANDARD.encode(&body.bytes),
        "body_bytes": body.len,
        "body_kept": body.bytes.len(),
        "body_whole": body.end == BodyEnd::Whole,
    }))
}

/// Names and values; bytes that are not UTF-8 are written as `\xNN`.
fn fields(fields: &Fields) -> Vec<[String; 2]> {
    let text = |bytes: &Bytes| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => crate::text::visible_bytes(bytes).into_owned(),
    };
    fields
        .iter()
        .map(|(name, value)| [text(name), text(value)])
        .collect()
}

/// The request as HTTP/1.1 on the wire: head, and the body as far as it was kept.
pub fn raw_request(request: &Request) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    proxy::http1::put_request_line(
        request.method.as_bytes(),
        request.target.as_bytes(),
        &mut out,
    );
    for (name, value) in &request.fields {
        put_field(name, value, &mut out);
    }
    out.extend_from_slice(b"\r\n");
    // What came in chunks is written as one, with its trailers: a request that a parser takes.
    let chunked = capture::field(&request.fields, "transfer-encoding").is_some();
    let encoding = match chunked {
        true => BodyEncoding::Chunked,
        false => BodyEncoding::Plain,
    };
    if !request.body.bytes.is_empty() {
        encoding.before(request.body.bytes.len(), &mut out);
        out.extend_from_slice(&request.body.bytes);
        encoding.after(&mut out);
    }
    encoding.end(&request.trailers, &mut out);
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_no_controls_and_is_the_same_value() {
        let value = json!({ "a": "x\u{9b}31m\u{202e}y ü 👋 \u{e0001}" });
        let line = line(&value);
        assert_eq!(line, r#"{"a":"x\u009b31m\u202ey ü 👋 \udb40\udc01"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
