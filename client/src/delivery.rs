//! One delivery's way through the laptop: verify, record, forward, answer.
//!
//! ```text
//! stream ─► request ─┬─► recorder ─► capture store
//!                    ├─► guard ────► verdict
//!                    └─► origin ───► answer ─► stream
//! ```
//!
//! A request of a known provider is held until its last byte, up to [`HOLD`], so that its verdict
//! goes to the app with it; everything else streams. The answer never waits for the disk. A body
//! longer than the capture limit is kept up to the limit and marked; it is forwarded whole.
//! Live traffic and replay both end in `Deliveries::attempt`; there is no second way to the app.
//!
//! Not here: how the app is spoken to (`attempt`), where it is (`origin`), who signed (`guard`).

use crate::attempt::{Broken, Forward, Left, Upload, allowed, gone, raw};
use crate::guard::{Guard, OnInvalid};
use crate::origin::Origin;
use bytes::{Bytes, BytesMut};
use capture::{Arrival, BodyEnd, Failure, Fields, Id, Recorder, Store, Timestamp};
use proxy::frames::FrameError;
use proxy::headers::{self, is};
use proxy::{Cause, FrameReader, FrameWriter};
use signature::{Message, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use tunnel::{RecvHalf, SendHalf, Stream};
use wire::{Abort, Frame, Framing, Length, Preface, RequestHead, Side};

/// The longest body that is held back for its verdict. Webhooks have some kilobytes; what is
/// longer streams, and is judged at its end.
pub const HOLD: usize = 1024 * 1024;

/// The relay sends preface and head at once; a stream without them is a fault.
const HEAD: Duration = Duration::from_secs(10);

/// Forwards requests to one app and records what passes.
#[derive(Debug)]
pub struct Deliveries {
    /// Where they are recorded.
    pub store: Store,
    /// Who signed them.
    pub guard: Guard,
    /// The app.
    pub origin: Origin,
    /// How they are forwarded.
    pub forwarding: Forwarding,
}

/// How requests are forwarded.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// Waiting for the app's response head; `None` for the provider's own limit, else
    /// [`Forwarding::TIMEOUT`].
    pub timeout: Option<Duration>,
    /// What the app gets as Host.
    pub host: HostHeader,
    /// Added to every request, in this order.
    pub add: Vec<(String, String)>,
    /// Taken from every request.
    pub remove: Vec<String>,
}

/// What the app gets as Host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// What the sender sent.
    Preserve,
    /// The app's own host and port.
    Rewrite,
    /// This.
    Value(String),
}

impl Forwarding {
    /// Waiting for an app's response head where the provider states no limit.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}

/// Judges a streamed request at its end.
pub(crate) struct Judge<'a> {
    provider: Option<&'a signature::Provider>,
    arrived: &'a Arrived,
}

/// A live request's head, as every step needs it.
struct Arrived {
    method: String,
    url: String,
    fields: Fields,
    at: i64,
}

impl Arrived {
    fn message<'a>(&'a self, headers: &'a [(&'a [u8], &'a [u8])], body: &'a [u8]) -> Message<'a> {
        Message {
            method: &self.method,
            url: &self.url,
            headers,
            body,
            at: self.at,
        }
    }
}

fn borrowed(fields: &Fields) -> Vec<(&[u8], &[u8])> {
    fields
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect()
}

/// Why a request cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such delivery, or not any more.
    #[error("delivery {0} is not in the store")]
    Unknown(Id),
    /// Its body was longer than what is kept, or was cut: other bytes would be sent.
    #[error("request {0} was not recorded whole, so it cannot be sent again as it was")]
    NotWhole(Id),
    /// It is another app's.
    #[error("delivery {id} came to {name} for {origin}, which is another app than this client's")]
    Elsewhere {
        /// The delivery.
        id: Id,
        /// Its public name.
        name: String,
        /// Where it went.
        origin: String,
    },
    /// Its signature was refused, and so is the replay.
    #[error(
        "request {0} was refused for its signature, and this client rejects such requests; to send it to the app all the same, start the client without --on-invalid reject"
    )]
    Rejected(Id),
    /// As many replays run as may at once.
    #[error("too many replays run at once; try again when some have ended")]
    TooMany,
    /// The store failed.
    #[error("the store cannot be read")]
    Read(#[from] capture::ReadError),
}

impl Deliveries {
    /// Serves one stream of the tunnel to its end.
    pub async fn live(&self, stream: Stream) {
        let mut reader = FrameReader::new(stream.recv);
        let mut writer = FrameWriter::new(stream.send);
        let heads = async {
            let preface = match reader.next().await? {
                Frame::Preface(preface) => preface,
                _ => return Err(FrameError::Unexpected),
            };
            match reader.next().await? {
                Frame::Request(head) => Ok((preface, head)),
                _ => Err(FrameError::Unexpected),
            }
        };
        let (preface, head) = match timeout(HEAD, heads).await {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => {
                tracing::warn!(%error, "stream without a request");
                return;
            }
            Err(_) => return,
        };
        match self
            .exchange(&preface, &head, &mut reader, &mut writer)
            .await
        {
            Ok(()) => writer.into_inner().finish(),
            Err(broken) if broken.cause == Cause::SenderGone => {}
            Err(broken) => {
                let side = match broken.cause {
                    Cause::AppRefused | Cause::AppBroken | Cause::AppTimeout => Side::App,
                    _ => Side::Adit,
                };
                let abort = Abort {
                    side,
                    cause: broken.cause.as_str().to_owned(),
                    message: String::new(),
                };
                if writer.send(&Frame::Abort(abort)).await.is_ok() {
                    writer.into_inner().finish();
                }
            }
        }
    }

    async fn exchange(
        &self,
        preface: &Preface,
        head: &RequestHead,
        reader: &mut FrameReader<RecvHalf>,
        writer: &mut FrameWriter<SendHalf>,
    ) -> Result<(), Broken> {
        let malformed = || Broken {
            cause: Cause::Malformed,
            why: String::from("the relay sent a request that is not HTTP"),
            may_have_run: false,
        };
        // The relay is not trusted to have checked what goes into the app's socket.
        let sound = headers::is_token(&head.method)
            && head.target.iter().all(|b| (0x21..0x7f).contains(b))
            && (head.target.starts_with(b"/") || &head.target[..] == b"*")
            && headers::are_writable(&head.fields)
            && preface.authority.bytes().all(|b| (0x21..0x7f).contains(&b))
            && preface.remote.bytes().all(|b| (0x21..0x7f).contains(&b));
        let id = Id::parse(preface.request.as_str());
        let (true, Some(id)) = (sound, id) else {
            tracing::warn!("the relay sent a request that is not HTTP");
            return Err(malformed());
        };
        let target = String::from_utf8_lossy(&head.target).into_owned();
        let public_origin = format!("{}://{}", preface.scheme.as_str(), preface.authority);
        let fields = with_framing(&head.fields, &head.framing);
        let at = Timestamp(i64::try_from(preface.arrived_us).unwrap_or(i64::MAX));
        let arrived = Arrived {
            method: String::from_utf8_lossy(&head.method).into_owned(),
            url: format!("{public_origin}{target}"),
            fields,
            at: at.unix_seconds(),
        };
        let mut recorder = self.store.arrived(Arrival {
            id,
            at,
            endpoint: preface.endpoint.clone(),
            public_origin,
            remote: preface.remote.clone(),
            version: preface.version.as_str(),
            method: arrived.method.clone(),
            target: target.clone(),
            fields: arrived.fields.clone(),
            origin: self.origin.address().to_string(),
        });
        tracing::debug!(request = %id, method = %arrived.method, "request");
        let begun = Instant::now();
        let done = self
            .forward_live(
                preface,
                head,
                &target,
                &arrived,
                id,
                reader,
                writer,
                &mut recorder,
            )
            .await;
        if done.is_ok() && !headers::asks_for_websocket(&head.fields) {
            // It was written; whether it arrived, the relay says by ending its own half.
            let _ = writer.raw().shutdown().await;
            if let Err(lost) = confirmed(reader).await {
                recorder.undelivered(lost.cause.as_str(), lost.why);
            }
        }
        if let Err(broken) = &done {
            let gone = broken.cause == Cause::SenderGone;
            let gave_up = match gone {
                true => self.gave_up(&target, &arrived, begun.elapsed()),
                false => None,
            };
            recorder.failed(Failure {
                status: (!gone).then(|| broken.cause.status()),
                cause: broken.cause.as_str().to_owned(),
                why: gave_up.unwrap_or_else(|| broken.why.clone()),
                may_have_run: broken.may_have_run,
            });
        }
        done
    }

    /// What it means that a provider hung up after so long: whether its patience had ended.
    fn gave_up(&self, target: &str, arrived: &Arrived, waited: Duration) -> Option<String> {
        /// The provider's clock began to run when it dialled, ours when its request was here.
        const HEAD_START: Duration = Duration::from_secs(1);
        let provider = self.guard.provider(target, &borrowed(&arrived.fields))?;
        let deadline = provider.deadline()?;
        (waited + HEAD_START >= deadline).then(|| {
            format!(
                "{} hung up after {:.1} s: it waits {} s, and the app had not answered",
                provider.title(),
                waited.as_secs_f64(),
                deadline.as_secs_f64(),
            )
        })
    }

    #[allow(clippy::too_many_arguments)]
    async fn forward_live(
        &self,
        preface: &Preface,
        head: &RequestHead,
        target: &str,
        arrived: &Arrived,
        id: Id,
        reader: &mut FrameReader<RecvHalf>,
        writer: &mut FrameWriter<SendHalf>,
        recorder: &mut Recorder,
    ) -> Result<(), Broken> {
        let headers = borrowed(&arrived.fields);
        let provider = self.guard.provider(target, &headers);
        let timeout = self
            .forwarding
            .timeout
            .or(Guard::deadline(provider))
            .unwrap_or(Forwarding::TIMEOUT);
        let mut forward = Forward {
            id,
            head,
            remote: &preface.remote,
            scheme: preface.scheme.as_str(),
            authority: &preface.authority,
            signature: None,
            replay_of: None,
            timeout,
        };
        let holds = match head.framing.length {
            Length::Empty => true,
            Length::Known(0) => true,
            Length::Known(n) => provider.is_some() && n <= HOLD as u64,
            Length::Unknown => provider.is_some(),
        };
        let judge = Judge { provider, arrived };
        if !holds {
            if provider.is_some() && self.guard.on_invalid == OnInvalid::Reject {
                return Err(self.too_long_to_judge(recorder, provider));
            }
            let upload = Upload::Streaming {
                frames: reader,
                first: Bytes::new(),
                length: head.framing.length,
                judge,
            };
            return self
                .attempt(&forward, upload, Some(writer), recorder)
                .await
                .map(drop);
        }
        if headers::lists(&head.fields, "expect", "100-continue")
            && head.framing.length != Length::Empty
        {
            // We, not the app, ask for the body; the app gets it with the head.
            let go_on = wire::Informational {
                status: 100,
                fields: Fields::new(),
            };
            let _ = writer.send(&Frame::Informational(go_on)).await;
        }
        let held = match self.hold(head.framing.length, reader, recorder).await {
            Ok(held) => held,
            Err(broken) => {
                let received = match provider {
                    Some(p) => Guard::unjudged(p, "the request was cut before its end"),
                    None => capture::Received::unknown(),
                };
                recorder.request_end(Fields::new(), BodyEnd::Cut, received);
                return Err(broken);
            }
        };
        let (body, trailers) = match held {
            Held::Whole(body, trailers) => (body, trailers),
            Held::TooLong(first) => {
                if provider.is_some() && self.guard.on_invalid == OnInvalid::Reject {
                    return Err(self.too_long_to_judge(recorder, provider));
                }
                let upload = Upload::Streaming {
                    frames: reader,
                    first,
                    length: head.framing.length,
                    judge,
                };
                return self
                    .attempt(&forward, upload, Some(writer), recorder)
                    .await
                    .map(drop);
            }
        };
        let received = self
            .guard
            .judge(provider, &arrived.message(&headers, &body));
        let verdict = received.judgement.verdict;
        if verdict != Verdict::None
            && let Some(name) = &received.judgement.provider
        {
            forward.signature = Some(format!("{}; provider={name}", verdict.as_str()));
        }
        let why = received.judgement.why.clone();
        recorder.request_end(trailers.clone(), BodyEnd::Whole, received);
        if self.guard.on_invalid == OnInvalid::Reject && !OnInvalid::passes(verdict) {
            return Err(Broken {
                cause: Cause::BadSignature,
                why: why.unwrap_or_else(|| String::from("the signature is not valid")),
                may_have_run: false,
            });
        }
        let upload = Upload::Held { body, trailers };
        if headers::asks_for_websocket(&head.fields) {
            let switched = self
                .attempt(&forward, upload, Some(writer), recorder)
                .await?;
            if let Some(connection) = switched {
                raw(connection, reader, writer).await;
            }
            return Ok(());
        }
        // The sender may leave while the app works: the stream tells.
        tokio::select! {
            biased;
            done = self.attempt(&forward, upload, Some(writer), recorder) => done.map(drop),
            () = lost(reader) => Err(gone(true)),
        }
    }

    fn too_long_to_judge(
        &self,
        recorder: &mut Recorder,
        provider: Option<&signature::Provider>,
    ) -> Broken {
        let why = format!("the body is longer than the {HOLD} bytes that are held for a verdict");
        if let Some(provider) = provider {
            let received = Guard::unjudged(provider, &why);
            recorder.request_end(Fields::new(), BodyEnd::Cut, received);
        }
        Broken {
            cause: Cause::BodyLimit,
            why,
            may_have_run: false,
        }
    }

    /// Reads a body to its end, or until it is too long to be held.
    async fn hold(
        &self,
        length: Length,
        reader: &mut FrameReader<RecvHalf>,
        recorder: &mut Recorder,
    ) -> Result<Held, Broken> {
        // Copied together: a piece of one byte would keep the whole read buffer it came in.
        let mut body = BytesMut::new();
        let mut left = Left::of(length);
        let mut trailers = Fields::new();
        loop {
            match reader.next().await {
                Ok(Frame::Data(data)) => {
                    left.take(data.len())?;
                    recorder.request_body(&data);
                    body.extend_from_slice(&data);
                    if body.len() > HOLD {
                        return Ok(Held::TooLong(body.freeze()));
                    }
                }
                Ok(Frame::Trailers(fields)) if headers::are_writable(&fields) => {
                    trailers = allowed(fields);
                }
                Ok(Frame::End) => {
                    left.end()?;
                    return Ok(Held::Whole(body.freeze(), trailers));
                }
                Ok(_) | Err(_) => return Err(gone(false)),
            }
        }
    }

    /// Begins a replay of the newest request of a delivery. The replay goes on by itself: drive
    /// [`Replay::run`] to its end.
    ///
    /// # Errors
    ///
    /// [`ReplayError`].
    pub async fn replay(self: &Arc<Self>, delivery: Id) -> Result<Replay, ReplayError> {
        let known = self
            .store
            .delivery(delivery)
            .await?
            .ok_or(ReplayError::Unknown(delivery))?;
        let id = known.latest().map_or(delivery, |attempt| attempt.request);
        let request = self
            .store
            .request(id)
            .await?
            .ok_or(ReplayError::Unknown(delivery))?;
        if !request.body.is_exact() {
            return Err(ReplayError::NotWhole(id));
        }
        let verdict = request.signature.verdict;
        if self.guard.on_invalid == OnInvalid::Reject && !OnInvalid::passes(verdict) {
            return Err(ReplayError::Rejected(id));
        }
        let recorder = self
            .store
            .replaying(delivery, id, self.origin.address().to_string())
            .ok_or(ReplayError::Unknown(delivery))?;
        Ok(Replay {
            deliveries: Arc::clone(self),
            request,
            recorder,
        })
    }

    /// Judges a streamed request by what was kept of it.
    pub(crate) fn end_streamed(
        &self,
        judge: &Judge<'_>,
        trailers: Fields,
        end: BodyEnd,
        recorder: &mut Recorder,
    ) {
        let headers = borrowed(&judge.arrived.fields);
        let received = {
            let (body, exact) = recorder.request_kept();
            match judge.provider {
                Some(provider) if !exact || end == BodyEnd::Cut => Guard::unjudged(
                    provider,
                    "the body was too long to be kept whole, so its signature was not checked",
                ),
                provider => self
                    .guard
                    .judge(provider, &judge.arrived.message(&headers, body)),
            }
        };
        recorder.request_end(trailers, end, received);
    }

    pub(crate) fn end_unread(&self, judge: &Judge<'_>, recorder: &mut Recorder) {
        self.end_streamed(judge, Fields::new(), BodyEnd::Cut, recorder);
    }
}

/// A replay that has its number and waits to be driven.
#[derive(Debug)]
pub struct Replay {
    deliveries: Arc<Deliveries>,
    request: capture::Request,
    recorder: Recorder,
}

impl Replay {
    /// The new attempt's number in its delivery.
    pub fn attempt(&self) -> u32 {
        self.recorder.attempt()
    }

    /// Sends the request to the app. How it ends is in the store.
    pub async fn run(mut self) {
        let request = &self.request;
        let (fields, framing) = without_framing(&request.fields, &request.body);
        let head = RequestHead {
            method: Bytes::from(request.method.clone()),
            target: Bytes::from(request.target.clone()),
            fields,
            framing,
        };
        let (scheme, authority) = request
            .public_origin
            .split_once("://")
            .unwrap_or(("https", &request.public_origin));
        let judgement = &request.signature;
        let signature = match (&judgement.provider, judgement.verdict) {
            (Some(provider), verdict) if verdict != Verdict::None => {
                Some(format!("{}; provider={provider}", verdict.as_str()))
            }
            _ => None,
        };
        let provider = judgement
            .provider
            .as_deref()
            .and_then(|p| self.deliveries.guard.catalogue().get(p));
        let timeout = self
            .deliveries
            .forwarding
            .timeout
            .or(Guard::deadline(provider))
            .unwrap_or(Forwarding::TIMEOUT);
        let forward = Forward {
            id: request.id,
            head: &head,
            remote: &request.remote,
            scheme,
            authority,
            signature,
            replay_of: Some(request.id),
            timeout,
        };
        let upload = Upload::Held {
            body: request.body.bytes.clone(),
            trailers: request.trailers.clone(),
        };
        let done = self
            .deliveries
            .attempt(&forward, upload, None, &mut self.recorder)
            .await;
        if let Err(broken) = done {
            self.recorder.failed(Failure {
                status: None,
                cause: broken.cause.as_str().to_owned(),
                why: broken.why,
                may_have_run: broken.may_have_run,
            });
        }
    }
}

enum Held {
    Whole(Bytes, Fields),
    /// Too long to be held: what came so far.
    TooLong(Bytes),
}

/// Waits until the relay has taken the whole answer: it ends its half of the stream then.
async fn confirmed(reader: &mut FrameReader<RecvHalf>) -> Result<(), Broken> {
    loop {
        match reader.next().await {
            Ok(Frame::Abort(_)) => return Err(gone(true)),
            Ok(_) => {}
            // A reset of the stream: the sender has left. Anything else: the session is over.
            Err(FrameError::Lost(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(Broken {
                    why: String::from("the sender went away before the whole answer reached it"),
                    ..gone(true)
                });
            }
            Err(FrameError::Lost(_)) => {
                return Err(Broken {
                    cause: Cause::TunnelLost,
                    why: String::from(
                        "the app answered, but the tunnel was lost before the answer got through",
                    ),
                    may_have_run: true,
                });
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Waits until the stream is reset: the sender went away, or the tunnel is lost.
pub(crate) async fn lost(reader: &mut FrameReader<RecvHalf>) {
    loop {
        match reader.next().await {
            Err(FrameError::Lost(_)) | Ok(Frame::Abort(_)) => return,
            Err(_) => std::future::pending::<()>().await,
            Ok(_) => {}
        }
    }
}

/// The fields as they stood on the wire: with the framing field where it was.
pub(crate) fn with_framing(fields: &Fields, framing: &Framing) -> Fields {
    let mut fields = fields.clone();
    if let Some(place) = &framing.place {
        let value = match framing.length {
            Length::Known(n) => Bytes::from(n.to_string()),
            Length::Unknown => Bytes::from_static(b"chunked"),
            Length::Empty => Bytes::from_static(b"0"),
        };
        fields.insert(place.index.min(fields.len()), (place.name.clone(), value));
    }
    fields
}

/// The reverse of [`with_framing`], for a recorded body that is whole.
fn without_framing(fields: &Fields, body: &capture::Body) -> (Fields, Framing) {
    let framing_field = |name: &[u8]| is(name, "content-length") || is(name, "transfer-encoding");
    let index = fields.iter().position(|(name, _)| framing_field(name));
    let place = index.map(|index| wire::Place {
        index,
        name: fields[index].0.clone(),
    });
    let chunked = place
        .as_ref()
        .is_some_and(|place| is(&place.name, "transfer-encoding"));
    let length = match (&place, body.len) {
        (Some(_), _) if chunked => Length::Unknown,
        (None, 0) => Length::Empty,
        (_, n) => Length::Known(n),
    };
    let fields = fields
        .iter()
        .filter(|(name, _)| !framing_field(name))
        .cloned()
        .collect();
    (fields, Framing { length, place })
}
