//! One attempt: a request goes to the app once, and the answer comes back.
//!
//! ```text
//! upload ──► head, body, trailers ──► app
//! answer ◄── 1xx, head, body, trailers ◄── app
//! ```
//!
//! Both directions run at once, so an answer may come before the request's end. Everything that
//! passes goes to the recorder. Nothing here knows whether a sender or a person asked.

use crate::delivery::{Deliveries, HostHeader, Judge, lost, with_framing};
use crate::origin::{Connection, acknowledge};
use bytes::{Bytes, BytesMut};
use capture::{BodyEnd, Fields, Id, Recorder};
use proxy::headers::{self, is};
use proxy::http1::{
    BodyDecoder, BodyEncoding, BodyPart, parse_response, put_field, put_fields, put_request_line,
};
use proxy::{Cause, FrameReader, FrameWriter};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tunnel::{RecvHalf, SendHalf};
use wire::{Frame, Length, RequestHead};

/// Bytes read from the app at once.
const READ: usize = 64 * 1024;

/// Bytes read at once until that was too little: most answers are a head and a few bytes.
const FIRST_READ: usize = 4 * 1024;

/// What is forwarded: the same for a live request and for a replay.
pub(crate) struct Forward<'a> {
    pub(crate) id: Id,
    pub(crate) head: &'a RequestHead,
    pub(crate) remote: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    /// `valid; provider=cloudvno`, where a scheme was checked.
    pub(crate) signature: Option<String>,
    pub(crate) replay_of: Option<Id>,
    pub(crate) timeout: Duration,
}

/// Where the request's body comes from.
pub(crate) enum Upload<'a> {
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

/// Why an attempt ended without the app's whole answer.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) cause: Cause,
    pub(crate) why: String,
    pub(crate) may_have_run: bool,
}

impl Deliveries {
    /// Sends a request to the app once and carries the answer back: to the sender's stream, or to
    /// nobody. Everything that passes goes to the recorder. Returns the connection when the app
    /// has switched protocols on it.
    pub(crate) async fn attempt(
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

/// Counts a request's body against the length its head gave. The relay is not trusted to have
/// counted: what is more than a Content-Length would be another request to the app.
pub(crate) struct Left(Option<u64>);

impl Left {
    pub(crate) fn of(length: Length) -> Left {
        Left(match length {
            Length::Empty => Some(0),
            Length::Known(n) => Some(n),
            Length::Unknown => None,
        })
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<(), Broken> {
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

    pub(crate) fn end(&self) -> Result<(), Broken> {
        match self.0 {
            None | Some(0) => Ok(()),
            Some(_) => Err(Left::broken()),
        }
    }

    pub(crate) fn broken() -> Broken {
        Broken {
            cause: Cause::Malformed,
            why: String::from("the relay sent a body of another length than its head says"),
            may_have_run: false,
        }
    }
}

/// The trailers that the app gets; the relay is not trusted to have chosen.
pub(crate) fn allowed(trailers: Fields) -> Fields {
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
        buf.reserve(FIRST_READ);
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
    let mut at_once = FIRST_READ;
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
                buf.reserve(at_once);
                match read.read_buf(buf).await {
                    Ok(n @ 1..) => {
                        if n >= at_once {
                            at_once = READ;
                        }
                    }
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
pub(crate) async fn raw(
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

pub(crate) fn gone(may_have_run: bool) -> Broken {
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
