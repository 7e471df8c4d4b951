//! The answers that we write, when the app did not.

use bytes::{BufMut, BytesMut};
use proxy::Cause;
use proxy::cause::FIELD;
use proxy::http1::{put_field, put_status_line};
use wire::RequestId;

/// An answer of ours: a cause, and one sentence. Nothing of the request is repeated in it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Why.
    pub cause: Cause,
    /// The request it belongs to, once it has an id.
    pub request: Option<RequestId>,
}

impl Answer {
    fn sentence(&self) -> &'static str {
        match self.cause {
            Cause::UnknownName => "Nobody has this name here.",
            Cause::ClientAway => "The owner of this name is not connected. Try again later.",
            Cause::AppRefused => "The tunnel is up, but nothing listens at the app's address.",
            Cause::AppBroken => "The app closed the connection without a valid answer.",
            Cause::AppTimeout => "The app did not answer in time.",
            Cause::TunnelLost => "The tunnel was lost before the app answered.",
            Cause::BadSignature => "The signature of this request is wrong.",
            Cause::BodyLimit => "The body is larger than allowed.",
            Cause::HeaderLimit => "The head of this request is larger than allowed.",
            Cause::RateLimit => "Too many requests at once. Try again later.",
            Cause::SlowSender => "The request came too slowly.",
            Cause::Malformed => "This is not a valid HTTP request.",
            Cause::SenderGone | Cause::Internal => "Something went wrong here.",
        }
    }

    /// The body: one line of plain text.
    pub fn body(&self) -> String {
        match self.request {
            Some(id) if self.cause == Cause::Internal => {
                format!("{} Please report {id}.\n", self.sentence())
            }
            _ => format!("{}\n", self.sentence()),
        }
    }

    /// The fields but Content-Length, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("Content-Type", String::from("text/plain; charset=utf-8")),
            ("Cache-Control", String::from("no-store")),
            (FIELD, self.cause.as_str().to_owned()),
        ];
        if let Some(id) = self.request {
            fields.push(("Adit-Request-Id", id.to_string()));
        }
        if let Some(seconds) = self.cause.retry_after() {
            fields.push(("Retry-After", seconds.to_string()));
        }
        fields
    }

    /// Writes the whole answer as HTTP/1.1.
    pub fn put(&self, to_head: bool, close: bool, out: &mut BytesMut) {
        let status = self.cause.status();
        put_status_line(status, reason(status).as_bytes(), out);
        for (name, value) in self.fields() {
            put_field(name.as_bytes(), value.as_bytes(), out);
        }
        let body = self.body();
        put_field(b"Content-Length", body.len().to_string().as_bytes(), out);
        if close {
            put_field(b"Connection", b"close", out);
        }
        out.put_slice(b"\r\n");
        if !to_head {
            out.put_slice(body.as_bytes());
        }
    }
}

/// The reason phrase of a status of ours (RFC 9110, 15).
fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}
