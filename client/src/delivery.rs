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
//! Live traffic and replay both end in [`Deliveries::attempt`]; there is no second way to the app.
//!
//! Not here: where the app is (`origin`), who signed (`guard`).

use crate::guard::{Guard, OnInvalid};
use crate::origin::{Connection, Origin, acknowledge};
use bytes::{Bytes, BytesMut};
use capture::{Arrival, BodyEnd, Failure, Fields, Id, Recorder, Store, Timestamp};
use proxy::frames::FrameError;
use proxy::headers::{self, is};
use proxy::http1::{
    BodyDecoder, BodyEncoding, BodyPart, parse_response, put_field, put_fields, put_request_line,
};
use proxy::{Cause, FrameReader, FrameWriter};
use signature::{Message, Verdict};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tunnel::{RecvHalf, SendHalf, Stream};
use wire::{Abort, Frame, Framing, Length, Preface, RequestHead, Side};

/// The longest body that is held back for its verdict. Webhooks have some kilobytes; what is
/// longer streams, and is judged at its end.
pub const HOLD: usize = 1024 * 1024;

/// The relay sends preface and head at once; a stream without them is a fault.
const HEAD: Duration = Duration::from_secs(10);

/// Bytes read from the app at once.
const READ: usize = 64 * 1024;

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

/// What is forwarded: the same for a live request and for a replay.
struct Forward<'a> {
    id: Id,
    head: &'a RequestHead,
    remote: &'a str,
    scheme: &'a str,
    authority: &'a str,
    /// `valid; provider=cloudvno`, where a scheme was checked.
    signature: Option<String>,
    replay_of: Option<Id>,
    timeout: Duration,
}

/// Where the request's body comes from.
enum Upload<'a> {
    /// All of it is here.
    Held { body: Bytes, trailers: Fields },
    /// It streams; `first` came already. Judged when it ends.
    Streaming {
        frames: &'a mut FrameReader<RecvHalf>,
        first: Bytes,
        length: Length,
        judge: Judge<'a>,
    },
}

/// Judges a streamed request at its end.
struct Judge<'a> {
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

/// Why an attempt ended without the app's whole answer.
#[derive(Debug)]
struct Broken {
    cause: Cause,
    why: String,
    may_have_run: bool,
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

    /// Sends a request to the app once and carries the answer back: to the sender's stream, or to
    /// nobody. Everything that passes goes to the recorder. Returns the connection when the app
    /// has switched protocols on it.
    async fn attempt(
        &self,
        forward: &Forward<'_>,
        upload: Upload<'_>,
        answer: Option<&mut FrameWriter<SendHalf>>,
        recorder: &mut Recorder,
    ) -> Result<Option<Connection>, Broken> {
        let address = self.origin.address().authority();
        let connection = match self.origin.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                if let Upload::Streaming { judge, .. } = &upload {
                    self.end_unread(judge, recorder);
                }
                // 23 and 24, ENFILE and EMFILE: that is not the app's fault.
                let ours = cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24));
                let (cause, what) = match ours {
                    true => (Cause::Internal, "this client cannot reach"),
                    false => (Cause::AppRefused, "nothing listens on"),
                };
                return Err(Broken {
                    cause,
                    why: format!("{what} {address}: {}", plain(&error)),
                    may_have_run: false,
                });
            }
        };
        recorder.connected();
        let Connection {
            mut read,
            mut write,
            mut buf,
        } = connection;
        let to_head = &forward.head.method[..] == b"HEAD";
        let websocket = headers::asks_for_websocket(&forward.head.fields);
        let mut out = BytesMut::new();
        let encoding = self.put_head(forward, &upload, &mut out);
        let recorder = Shared(Mutex::new(recorder));

        let head_seen = AtomicBool::new(false);
        let outcome = {
            let (whole, mut whole_sent) = tokio::sync::oneshot::channel();
            let mut up = pin!(self.send(&mut write, out, encoding, upload, &recorder, whole));
            let mut down = pin!(receive(
                &mut read,
                &mut buf,
                Expect {
                    to_head,
                    websocket,
                    address: &address
                },
                answer,
                &recorder,
                &head_seen,
            ));
            let (mut uploading, mut sent_whole, mut waiting) = (true, false, true);
            let mut deadline = pin!(tokio::time::sleep(Duration::from_secs(365 * 86_400)));
            loop {
                tokio::select! {
                    biased;
                    received = &mut down => break received.map(|received| (received, sent_whole)),
                    Ok(()) = &mut whole_sent, if !sent_whole => {
                        sent_whole = true;
                        deadline.as_mut().reset(Instant::now() + forward.timeout);
                    }
                    sent = &mut up, if uploading => match sent {
                        SendEnd::Done => uploading = false,
                        SendEnd::SenderGone => break Err(gone(true)),
                        SendEnd::Broken(broken) => break Err(Broken { may_have_run: true, ..broken }),
                        SendEnd::AppStopped => {
                            // The app may have answered before it stopped reading.
                            uploading = false;
                            deadline.as_mut().reset(Instant::now() + Duration::from_secs(1));
                        }
                    },
                    // The head may have come while this very select waited.
                    () = &mut deadline, if waiting => {
                        if head_seen.load(Ordering::Relaxed) {
                            waiting = false;
                            continue;
                        }
                        break Err(Broken {
                            cause: Cause::AppTimeout,
                            why: format!(
                                "{address} sent no response head within {:?}",
                                forward.timeout
                            ),
                            may_have_run: true,
                        });
                    }
                }
            }
        };
        match outcome {
            Ok((Answered::Whole { keep_alive }, sent_whole)) => {
                if keep_alive && sent_whole {
                    self.origin.give_back(Connection { read, write, buf });
                }
                Ok(None)
            }
            Ok((Answered::Switched, _)) => Ok(Some(Connection { read, write, buf })),
            Err(broken) => Err(broken),
        }
    }

    /// Writes the request's head: what the sender sent, without what was between it and us, and
    /// with what the contract adds.
    fn put_head(
        &self,
        forward: &Forward<'_>,
        upload: &Upload<'_>,
        out: &mut BytesMut,
    ) -> Option<BodyEncoding> {
        let head = forward.head;
        let mut framing = head.framing.clone();
        let encoding = match upload {
            Upload::Held { body, trailers } if trailers.is_empty() => {
                // A body that came in chunks and is whole now keeps its chunked form: the app
                // gets what was sent.
                match framing.length {
                    Length::Unknown => Some(BodyEncoding::Chunked),
                    Length::Known(_) => {
                        framing.length = Length::Known(body.len() as u64);
                        Some(BodyEncoding::Plain)
                    }
                    Length::Empty => None,
                }
            }
            Upload::Held { .. } => Some(BodyEncoding::Chunked),
            Upload::Streaming { .. } => match framing.length {
                Length::Known(_) => Some(BodyEncoding::Plain),
                Length::Unknown => Some(BodyEncoding::Chunked),
                Length::Empty => None,
            },
        };
        let host = match &self.forwarding.host {
            HostHeader::Preserve => None,
            HostHeader::Rewrite => Some(self.origin.address().authority()),
            HostHeader::Value(value) => Some(value.clone()),
        };
        let websocket = headers::asks_for_websocket(&head.fields);
        let held = matches!(upload, Upload::Held { .. });
        let fields = &head.fields;
        put_request_line(&head.method, &head.target, out);
        if headers::first(fields, "host").is_none() {
            // HTTP/2 has :authority instead (RFC 9113, 8.3.1: an intermediary that converts to
            // HTTP/1.1 MUST create a Host field).
            put_field(
                b"Host",
                host.as_deref().unwrap_or(forward.authority).as_bytes(),
                out,
            );
        }
        // A Host that is rewritten stays where it stood.
        let rewritten: Fields;
        let fields = match &host {
            None => fields,
            Some(host) => {
                rewritten = fields
                    .iter()
                    .map(|(name, value)| match is(name, "host") {
                        true => (name.clone(), Bytes::from(host.clone())),
                        false => (name.clone(), value.clone()),
                    })
                    .collect();
                &rewritten
            }
        };
        put_fields(fields, &framing, encoding, out, |name, _| {
            let hop = headers::is_hop_by_hop(name, fields);
            let upgrade = websocket && (is(name, "connection") || is(name, "upgrade"));
            let expect = held && is(name, "expect");
            let removed = self.forwarding.remove.iter().any(|gone| is(name, gone));
            (!hop || upgrade) && !headers::is_ours(name) && !expect && !removed
        });
        if headers::lists(fields, "te", "trailers") {
            // RFC 9110, 10.1.4: TE is a promise about this connection, and we keep it.
            put_field(b"TE", b"trailers", out);
            put_field(b"Connection", b"TE", out);
        }
        let ip = forward
            .remote
            .rsplit_once(':')
            .map_or(forward.remote, |(ip, _)| ip);
        let ip = ip.trim_matches(['[', ']']);
        let node = if ip.contains(':') {
            format!("\"[{ip}]\"")
        } else {
            ip.to_owned()
        };
        put_field(b"X-Forwarded-For", ip.as_bytes(), out);
        put_field(b"X-Forwarded-Proto", forward.scheme.as_bytes(), out);
        put_field(b"X-Forwarded-Host", forward.authority.as_bytes(), out);
        let forwarded = format!(
            "for={node};host=\"{}\";proto={}",
            forward.authority, forward.scheme
        );
        put_field(b"Forwarded", forwarded.as_bytes(), out);
        put_field(b"Adit-Request-Id", forward.id.as_str().as_bytes(), out);
        if let Some(signature) = &forward.signature {
            put_field(b"Adit-Signature", signature.as_bytes(), out);
        }
        if let Some(original) = forward.replay_of {
            put_field(b"Adit-Replay-Of", original.as_str().as_bytes(), out);
        }
        for (name, value) in &self.forwarding.add {
            put_field(name.as_bytes(), value.as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
        encoding
    }

    /// Carries the request to the app, says on `whole` when all of it is there, and goes on to
    /// watch for the sender to leave where the stream can tell.
    async fn send(
        &self,
        write: &mut tokio::net::tcp::OwnedWriteHalf,
        mut out: BytesMut,
        encoding: Option<BodyEncoding>,
        upload: Upload<'_>,
        recorder: &Shared<'_>,
        whole: tokio::sync::oneshot::Sender<()>,
    ) -> SendEnd {
        let encoding = encoding.unwrap_or(BodyEncoding::Plain);
        match upload {
            Upload::Held { body, trailers } => {
                if !body.is_empty() {
                    encoding.before(body.len(), &mut out);
                    out.extend_from_slice(&body);
                    encoding.after(&mut out);
                }
                encoding.end(&trailers, &mut out);
                if write.write_all(&out).await.is_err() {
                    return SendEnd::AppStopped;
                }
                recorder.with(Recorder::sent);
                let _ = whole.send(());
                SendEnd::Done
            }
            Upload::Streaming {
                frames,
                first,
                length,
                judge,
            } => {
                let left = Left::of(length);
                match stream(write, out, encoding, frames, first, left, recorder).await {
                    Ok(trailers) => {
                        recorder.with(|r| self.end_streamed(&judge, trailers, BodyEnd::Whole, r));
                    }
                    Err(end) => {
                        let none = Fields::new();
                        recorder.with(|r| self.end_streamed(&judge, none, BodyEnd::Cut, r));
                        return end;
                    }
                }
                let _ = whole.send(());
                lost(frames).await;
                SendEnd::SenderGone
            }
        }
    }

    /// Judges a streamed request by what was kept of it.
    fn end_streamed(
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

    fn end_unread(&self, judge: &Judge<'_>, recorder: &mut Recorder) {
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

/// Counts a request's body against the length its head gave. The relay is not trusted to have
/// counted: what is more than a Content-Length would be another request to the app.
struct Left(Option<u64>);

impl Left {
    fn of(length: Length) -> Left {
        Left(match length {
            Length::Empty => Some(0),
            Length::Known(n) => Some(n),
            Length::Unknown => None,
        })
    }

    fn take(&mut self, len: usize) -> Result<(), Broken> {
        match &mut self.0 {
            None => Ok(()),
            Some(left) => match left.checked_sub(len as u64) {
                Some(less) => {
                    *left = less;
                    Ok(())
                }
                None => Err(Left::broken()),
            },
        }
    }

    fn end(&self) -> Result<(), Broken> {
        match self.0 {
            None | Some(0) => Ok(()),
            Some(_) => Err(Left::broken()),
        }
    }

    fn broken() -> Broken {
        Broken {
            cause: Cause::Malformed,
            why: String::from("the relay sent a body of another length than its head says"),
            may_have_run: false,
        }
    }
}

enum Held {
    Whole(Bytes, Fields),
    /// Too long to be held: what came so far.
    TooLong(Bytes),
}

enum SendEnd {
    /// The app has the whole request.
    Done,
    /// The sender went away.
    SenderGone,
    /// What comes is not what its head said.
    Broken(Broken),
    /// The app takes no more.
    AppStopped,
}

/// Carries a streamed body to the app; its trailers.
async fn stream(
    write: &mut tokio::net::tcp::OwnedWriteHalf,
    mut out: BytesMut,
    encoding: BodyEncoding,
    frames: &mut FrameReader<RecvHalf>,
    first: Bytes,
    mut left: Left,
    recorder: &Shared<'_>,
) -> Result<Fields, SendEnd> {
    if !first.is_empty() {
        left.take(first.len()).map_err(SendEnd::Broken)?;
        encoding.before(first.len(), &mut out);
        out.extend_from_slice(&first);
        encoding.after(&mut out);
    }
    let mut head_sent = false;
    let mut trailers = Fields::new();
    loop {
        let frame = match frames.ready() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => {
                if !out.is_empty() {
                    write
                        .write_all(&out)
                        .await
                        .map_err(|_| SendEnd::AppStopped)?;
                    out.clear();
                    if !head_sent {
                        head_sent = true;
                        recorder.with(Recorder::sent);
                    }
                }
                frames.next().await
            }
            Err(error) => Err(error),
        };
        match frame {
            Ok(Frame::Data(data)) => {
                left.take(data.len()).map_err(SendEnd::Broken)?;
                recorder.with(|r| r.request_body(&data));
                encoding.before(data.len(), &mut out);
                if data.len() <= READ / 4 {
                    out.extend_from_slice(&data);
                } else {
                    write
                        .write_all(&out)
                        .await
                        .map_err(|_| SendEnd::AppStopped)?;
                    out.clear();
                    write
                        .write_all(&data)
                        .await
                        .map_err(|_| SendEnd::AppStopped)?;
                }
                encoding.after(&mut out);
            }
            Ok(Frame::Trailers(fields)) if headers::are_writable(&fields) => {
                trailers = allowed(fields);
            }
            Ok(Frame::End) => {
                left.end().map_err(SendEnd::Broken)?;
                encoding.end(&trailers, &mut out);
                write
                    .write_all(&out)
                    .await
                    .map_err(|_| SendEnd::AppStopped)?;
                if !head_sent {
                    recorder.with(Recorder::sent);
                }
                return Ok(trailers);
            }
            Ok(_) | Err(_) => return Err(SendEnd::SenderGone),
        }
    }
}

/// The trailers that the app gets; the relay is not trusted to have chosen.
fn allowed(trailers: Fields) -> Fields {
    let fits = |(name, _): &(Bytes, Bytes)| headers::may_trail(name);
    trailers.into_iter().filter(fits).collect()
}

enum Answered {
    /// To its last byte.
    Whole {
        /// Whether the connection to the app may be used again.
        keep_alive: bool,
    },
    /// 101: raw bytes follow, both ways.
    Switched,
}

/// What the answer's reader must know of the request.
struct Expect<'a> {
    to_head: bool,
    websocket: bool,
    address: &'a str,
}

/// Carries the app's answer back.
async fn receive(
    read: &mut tokio::net::tcp::OwnedReadHalf,
    buf: &mut BytesMut,
    expect: Expect<'_>,
    mut answer: Option<&mut FrameWriter<SendHalf>>,
    recorder: &Shared<'_>,
    head_seen: &AtomicBool,
) -> Result<Answered, Broken> {
    let address = expect.address;
    let broken = |why: String| Broken {
        cause: Cause::AppBroken,
        why,
        may_have_run: true,
    };
    let response = loop {
        match parse_response(buf, expect.to_head) {
            Err(refusal) => {
                return Err(broken(format!("{address} sent no valid answer: {refusal}")));
            }
            Ok(Some(response)) if response.head.status >= 200 => break response,
            Ok(Some(response)) => {
                let status = response.head.status;
                if status == 101 && !expect.websocket {
                    let why = format!("{address} switched protocols without being asked");
                    return Err(broken(why));
                }
                if let Some(writer) = answer.as_deref_mut() {
                    let fields = response.head.fields.clone();
                    let head = wire::Informational { status, fields };
                    let sent = writer.send(&Frame::Informational(head)).await;
                    sent.map_err(|_| gone(true))?;
                }
                if status == 101 {
                    head_seen.store(true, Ordering::Relaxed);
                    recorder.with(|r| {
                        r.response_head(status, String::new(), response.head.fields);
                        r.response_end(Fields::new());
                    });
                    return Ok(Answered::Switched);
                }
                continue;
            }
            Ok(None) => {}
        }
        if !buf.is_empty() {
            acknowledge(read);
        }
        buf.reserve(READ);
        match read.read_buf(buf).await {
            Ok(1..) => {}
            Ok(0) => {
                let why = format!("{address} closed the connection without an answer");
                return Err(broken(why));
            }
            Err(error) => {
                let why = format!("{address} broke the connection: {}", plain(&error));
                return Err(broken(why));
            }
        }
    };
    head_seen.store(true, Ordering::Relaxed);
    let mut body: BodyDecoder = response.body;
    let head = response.head;
    recorder.with(|r| {
        r.response_head(
            head.status,
            String::from_utf8_lossy(&head.reason).into_owned(),
            with_framing(&head.fields, &head.framing),
        );
    });
    if let Some(writer) = answer.as_deref_mut() {
        writer.put(&Frame::Response(head));
    }
    loop {
        match body.next(buf) {
            Ok(Some(BodyPart::Data(data))) => {
                recorder.with(|r| r.response_body(&data));
                if let Some(writer) = answer.as_deref_mut() {
                    writer.data(&data).await.map_err(|_| gone(true))?;
                }
            }
            Ok(Some(BodyPart::End(trailers))) => {
                return end(answer, trailers, recorder, response.keep_alive).await;
            }
            Ok(None) => {
                if let Some(writer) = answer.as_deref_mut() {
                    writer.flush().await.map_err(|_| gone(true))?;
                }
                acknowledge(read);
                buf.reserve(READ);
                match read.read_buf(buf).await {
                    Ok(1..) => {}
                    Ok(0) => match body.end_of_input() {
                        Ok(_) => return end(answer, Fields::new(), recorder, false).await,
                        Err(_) => {
                            return Err(broken(format!("{address} closed inside its answer")));
                        }
                    },
                    Err(error) => {
                        let why = format!("{address} broke inside its answer: {}", plain(&error));
                        return Err(broken(why));
                    }
                }
            }
            Err(refusal) => {
                return Err(broken(format!("{address} sent a broken body: {refusal}")));
            }
        }
    }
}

async fn end(
    answer: Option<&mut FrameWriter<SendHalf>>,
    trailers: Fields,
    recorder: &Shared<'_>,
    keep_alive: bool,
) -> Result<Answered, Broken> {
    if let Some(writer) = answer {
        if !trailers.is_empty() {
            writer.put(&Frame::Trailers(trailers.clone()));
        }
        writer.send(&Frame::End).await.map_err(|_| gone(true))?;
    }
    recorder.with(|r| r.response_end(trailers));
    Ok(Answered::Whole { keep_alive })
}

/// Copies raw bytes both ways until both sides have ended, or one fails.
async fn raw(
    connection: Connection,
    reader: &mut FrameReader<RecvHalf>,
    writer: &mut FrameWriter<SendHalf>,
) {
    let Connection {
        mut read,
        mut write,
        buf,
    } = connection;
    let (from_sender, rest) = reader.raw();
    let to_sender = writer.raw();
    let up = async {
        write.write_all(&rest).await?;
        tokio::io::copy(from_sender, &mut write).await?;
        write.shutdown().await
    };
    let down = async {
        to_sender.write_all(&buf).await?;
        tokio::io::copy(&mut read, to_sender).await?;
        to_sender.shutdown().await
    };
    let _ = tokio::try_join!(up, down);
}

/// The recorder, as both directions of an exchange use it. They run in one task, so nobody ever
/// waits for the lock; it is one because the task moves between threads.
struct Shared<'a>(Mutex<&'a mut Recorder>);

impl Shared<'_> {
    fn with<T>(&self, work: impl FnOnce(&mut Recorder) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits until the stream is reset: the sender went away, or the tunnel is lost.
async fn lost(reader: &mut FrameReader<RecvHalf>) {
    loop {
        match reader.next().await {
            Err(FrameError::Lost(_)) | Ok(Frame::Abort(_)) => return,
            Err(_) => std::future::pending::<()>().await,
            Ok(_) => {}
        }
    }
}

fn gone(may_have_run: bool) -> Broken {
    Broken {
        cause: Cause::SenderGone,
        why: String::from("the sender or the tunnel went away before the answer was complete"),
        may_have_run,
    }
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => String::from("connection refused"),
        io::ErrorKind::ConnectionReset => String::from("connection reset"),
        io::ErrorKind::TimedOut => format!("no connection within {CONNECT_SECONDS} s"),
        _ => error.to_string(),
    }
}

const CONNECT_SECONDS: u64 = 5;

/// The fields as they stood on the wire: with the framing field where it was.
fn with_framing(fields: &Fields, framing: &Framing) -> Fields {
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
