//! One public request on its way in, from Host to the last byte of its answer. The hot path.
//!
//! ```text
//! HTTP/1 ── proxy::http1 ──┐                                       ┌── Data ──► client
//!                          ├─► Host ─► route ─► stream: Preface, Request, Data…, End
//! HTTP/2 ── hyper ─────────┘            └─ none: our own answer    └── Response … ◄──
//! ```
//!
//! HTTP/1 is read by our own parser: hyper loses the order of fields, drops 103 and request
//! trailers, and accepts framing that smuggles requests. Both directions of an exchange run at
//! once, so an answer may come before the request's end and neither can stall the other.

mod http1;
mod http2;

use crate::answer::Answer;
use crate::limits;
use crate::route::{Attached, Domain, Route, Routes};
use crate::shares::Share;
use proxy::{Cause, FrameReader, FrameWriter};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tunnel::{RecvHalf, SendHalf};
use wire::{Preface, RequestId, Scheme, Version};

/// Serves public requests.
#[derive(Debug)]
pub struct Ingress {
    routes: Arc<Routes>,
    domain: Domain,
    /// Makes request ids of one process differ within a millisecond.
    count: AtomicU64,
}

/// An exchange with the client that holds the name.
struct Exchange {
    request: RequestId,
    writer: FrameWriter<SendHalf>,
    reader: FrameReader<RecvHalf>,
    share: Share,
}

impl Ingress {
    /// Leads requests to what `routes` says.
    pub fn new(routes: Arc<Routes>, domain: Domain) -> Ingress {
        let mut start = [0; 8];
        // Without random bytes ids begin at a fixed count; they still differ by time.
        let _ = getrandom::fill(&mut start);
        Ingress {
            routes,
            domain,
            count: AtomicU64::new(u64::from_le_bytes(start)),
        }
    }

    /// Serves one connection to its end. `stop` asks it to end after the current request.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: TlsStream<S>,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
    ) {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => http2::serve(self, stream, peer, stop).await,
            _ => http1::serve(&self, stream, peer, stop).await,
        }
    }

    fn request_id(&self) -> (RequestId, u64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Multiplied by an odd number, a count visits every value before it repeats one.
        let chance = self
            .count
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        (RequestId::new(ms, (chance >> 32) as u32), us)
    }

    /// Finds the client and opens a stream to it, with the preface in its buffer.
    async fn open(
        &self,
        authority: &str,
        peer: SocketAddr,
        version: Version,
    ) -> Result<Exchange, Answer> {
        let (request, arrived_us) = self.request_id();
        let answer = |cause| Answer {
            cause,
            request: Some(request),
        };
        let name = self
            .domain
            .name(authority)
            .ok_or_else(|| answer(Cause::UnknownName))?;
        let attached: Arc<Attached> = match self.routes.get(&name) {
            None => return Err(answer(Cause::UnknownName)),
            Some(Route::Away) => return Err(answer(Cause::ClientAway)),
            Some(Route::Here(attached)) => attached,
        };
        let opened = tokio::time::timeout(limits::STREAM_WAIT, async {
            let share = attached.shares.take(peer.ip()).await;
            let stream = attached.session.open().await?;
            Ok::<_, tunnel::Ended>((share, stream))
        });
        let (share, stream) = match opened.await {
            Err(_) => return Err(answer(Cause::RateLimit)),
            // The session is over and nothing was sent on it: its client is away.
            Ok(Err(_)) => return Err(answer(Cause::ClientAway)),
            Ok(Ok(opened)) => opened,
        };
        let mut writer = FrameWriter::new(stream.send);
        writer.put(&wire::Frame::Preface(Preface {
            request,
            endpoint: name.to_string(),
            remote: peer.to_string(),
            scheme: Scheme::Https,
            authority: authority.to_owned(),
            arrived_us,
            version,
        }));
        Ok(Exchange {
            request,
            writer,
            reader: FrameReader::new(stream.recv),
            share,
        })
    }
}

/// Why the sender's side of an exchange ended before its time.
enum SenderFault {
    /// It went away.
    Gone,
    /// Its body is not as it must be.
    Malformed,
    /// It stopped in the middle of its body.
    Slow,
    /// The client takes no more of the request; its answer is on the way.
    NotWanted,
}

/// Counts an answer's body against its Content-Length, so that a cut is seen as a cut.
struct Remaining(Option<u64>);

impl Remaining {
    /// Takes `len` bytes off; `false` when there are more than the head said.
    fn take(&mut self, len: usize) -> bool {
        match &mut self.0 {
            None => true,
            Some(left) => match left.checked_sub(len as u64) {
                Some(less) => {
                    *left = less;
                    true
                }
                None => false,
            },
        }
    }

    /// Whether all that the head said has come.
    fn is_done(&self) -> bool {
        self.0.is_none_or(|left| left == 0)
    }
}

/// Whether an answer's head from a client, who is not trusted, can be written to a sender.
fn is_sound(head: &wire::ResponseHead) -> bool {
    proxy::headers::are_writable(&head.fields)
        && proxy::headers::is_field_value(&head.reason)
        && (200..600).contains(&head.status)
}

/// Whether an answer with this status, or to a HEAD, has no body (RFC 9112, 6.3).
fn is_bodiless(status: u16, to_head: bool) -> bool {
    to_head || status == 204 || status == 304
}

/// Fields of an app's answer that the sender gets.
fn passes(name: &[u8], fields: &wire::Fields) -> bool {
    !proxy::headers::is_hop_by_hop(name, fields) && !proxy::headers::is(name, proxy::cause::FIELD)
}
