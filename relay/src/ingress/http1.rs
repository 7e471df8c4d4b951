//! HTTP/1.0 and HTTP/1.1 connections.

use super::{Exchange, Ingress, Remaining, SenderFault, is_bodiless, is_sound, passes};
use crate::answer::Answer;
use crate::limits;
use bytes::{Bytes, BytesMut};
use proxy::http1::{
    BodyDecoder, BodyEncoding, BodyPart, MAX_HEAD, Minor, Refusal, Request, parse_request,
    put_field, put_fields, put_status_line,
};
use proxy::{Cause, FrameReader, FrameWriter};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tunnel::{RecvHalf, SendHalf};
use wire::{Fields, Frame, Length, Version};

/// Bytes read from a sender at once.
const READ: usize = 16 * 1024;

/// Bytes of later requests that are read while one is being answered.
const AHEAD: usize = 64 * 1024;

/// Body bytes up to this size are copied behind the head or the chunk line and written with them;
/// larger ones are written from where they are.
const COPY: usize = 16 * 1024;

/// Serves requests of one connection, one after the other.
pub(super) async fn serve<S>(
    ingress: &Ingress,
    stream: S,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send,
{
    let (read, write) = tokio::io::split(stream);
    let mut sender = Sender {
        io: read,
        buf: BytesMut::new(),
    };
    let mut out = Out {
        io: write,
        buf: BytesMut::new(),
        head_sent: false,
    };
    let mut first = true;
    loop {
        let request = match sender.request(first, &mut stop).await {
            Ok(Some(request)) => request,
            Ok(None) => break,
            Err(cause) => {
                let answer = Answer {
                    cause,
                    request: None,
                };
                answer.put(false, true, &mut out.buf);
                if out.flush().await.is_ok() {
                    linger(&mut sender, &mut out).await;
                }
                return;
            }
        };
        first = false;
        out.head_sent = false;
        match exchange(ingress, request, &mut sender, &mut out, peer, &stop).await {
            After::NextRequest => {}
            After::Close => {
                linger(&mut sender, &mut out).await;
                return;
            }
            After::Cut => return,
        }
    }
    let _ = out.io.shutdown().await;
}

/// What becomes of the connection.
enum After {
    /// It serves another request.
    NextRequest,
    /// It is closed in order.
    Close,
    /// It is dropped, so that the sender sees that the answer is not whole.
    Cut,
}

async fn exchange<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    ingress: &Ingress,
    request: Request,
    sender: &mut Sender<R>,
    out: &mut Out<W>,
    peer: SocketAddr,
    stop: &watch::Receiver<bool>,
) -> After {
    let to_head = &request.head.method[..] == b"HEAD";
    let minor = request.minor;
    let version = match minor {
        Minor::Zero => Version::Http10,
        Minor::One => Version::Http11,
    };
    let mut body = BodyDecoder::of(request.head.framing.length);
    let keep_alive = request.keep_alive && !*stop.borrow();
    let opened = ingress.open(&request.authority, peer, version).await;
    let Exchange {
        request: id,
        mut writer,
        mut reader,
        share: _share,
    } = match opened {
        Ok(exchange) => exchange,
        Err(answer) => {
            let close = !keep_alive || !body.is_at_end();
            answer.put(to_head, close, &mut out.buf);
            return match (out.flush().await, close) {
                (Err(_), _) => After::Cut,
                (Ok(()), true) => After::Close,
                (Ok(()), false) => After::NextRequest,
            };
        }
    };
    let websocket = proxy::headers::asks_for_websocket(&request.head.fields);
    writer.put(&Frame::Request(request.head));

    let outcome = {
        let mut up = pin!(upload(sender, &mut body, &mut writer));
        let answer = Answering {
            to_head,
            minor,
            keep_alive,
            websocket,
        };
        let mut down = pin!(download(&mut reader, out, answer));
        let mut uploading = true;
        loop {
            tokio::select! {
                biased;
                answered = &mut down => break Ok(answered),
                fault = &mut up, if uploading => match fault {
                    SenderFault::NotWanted => uploading = false,
                    fault => break Err(fault),
                },
            }
        }
    };
    let cause = match outcome {
        Ok(Answered::Whole { close }) => {
            // The client has all it needs; the stream ends in order and is not reset.
            writer.into_inner().finish();
            return match close || !body.is_done() {
                true => After::Close,
                false => After::NextRequest,
            };
        }
        Ok(Answered::Switched) => {
            switched(sender, out, writer, reader).await;
            return After::Cut;
        }
        Ok(Answered::Cut) => return After::Cut,
        Ok(Answered::Not(cause)) => cause,
        Err(SenderFault::Gone | SenderFault::NotWanted) => return After::Cut,
        Err(SenderFault::Malformed) => Cause::Malformed,
        Err(SenderFault::Slow) => Cause::SlowSender,
    };
    drop((writer, reader));
    if out.head_sent {
        return After::Cut;
    }
    out.buf.clear();
    let close = !keep_alive || !body.is_done();
    Answer {
        cause,
        request: Some(id),
    }
    .put(to_head, close, &mut out.buf);
    match (out.flush().await, close) {
        (Err(_), _) => After::Cut,
        (Ok(()), true) => After::Close,
        (Ok(()), false) => After::NextRequest,
    }
}

/// Carries the request's body to the client, then watches for the sender to go away. Never ends
/// well: it runs until the answer is there.
async fn upload<R: AsyncRead + Unpin>(
    sender: &mut Sender<R>,
    body: &mut BodyDecoder,
    writer: &mut FrameWriter<SendHalf>,
) -> SenderFault {
    while !body.is_done() {
        match body.next(&mut sender.buf) {
            Err(_) => return SenderFault::Malformed,
            Ok(Some(BodyPart::Data(data))) => {
                if writer.data(&data).await.is_err() {
                    return SenderFault::NotWanted;
                }
            }
            Ok(Some(BodyPart::End(trailers))) => {
                let trailers = allowed(trailers);
                if !trailers.is_empty() {
                    writer.put(&Frame::Trailers(trailers));
                }
                if writer.send(&Frame::End).await.is_err() {
                    return SenderFault::NotWanted;
                }
            }
            Ok(None) => {
                if writer.flush().await.is_err() {
                    return SenderFault::NotWanted;
                }
                match timeout(limits::BODY_PIECE, sender.fill()).await {
                    Err(_) => return SenderFault::Slow,
                    Ok(Err(_) | Ok(0)) => return SenderFault::Gone,
                    Ok(Ok(_)) => {}
                }
            }
        }
    }
    // The next request may come already. It waits in the buffer, so that one sees the sender leave
    // behind it too; what is more, the kernel keeps.
    while sender.buf.len() < AHEAD {
        if matches!(sender.fill().await, Err(_) | Ok(0)) {
            return SenderFault::Gone;
        }
    }
    std::future::pending().await
}

fn allowed(trailers: Fields) -> Fields {
    trailers
        .into_iter()
        .filter(|(name, _)| proxy::headers::may_trail(name))
        .collect()
}

/// What the answer's writer must know of the request.
struct Answering {
    to_head: bool,
    minor: Minor,
    keep_alive: bool,
    websocket: bool,
}

enum Answered {
    /// To its last byte.
    Whole { close: bool },
    /// The stream carries raw bytes from here.
    Switched,
    /// Cut after its head.
    Cut,
    /// No head came.
    Not(Cause),
}

/// Writes the client's answer to the sender.
async fn download<W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<RecvHalf>,
    out: &mut Out<W>,
    request: Answering,
) -> Answered {
    let head = loop {
        match reader.next().await {
            Err(error) => {
                return Answered::Not(match error {
                    proxy::frames::FrameError::Lost(_) | proxy::frames::FrameError::Ended => {
                        Cause::TunnelLost
                    }
                    _ => Cause::Internal,
                });
            }
            Ok(Frame::Informational(head)) => {
                if !proxy::headers::are_writable(&head.fields) {
                    return Answered::Not(Cause::AppBroken);
                }
                // RFC 9110, 15.2: a proxy MUST forward 1xx, and none is sent to HTTP/1.0.
                if head.status == 101 {
                    if !request.websocket {
                        return Answered::Not(Cause::AppBroken);
                    }
                } else if request.minor == Minor::Zero {
                    continue;
                }
                put_status_line(head.status, reason(head.status).as_bytes(), &mut out.buf);
                for (name, value) in &head.fields {
                    let ours = proxy::headers::is(name, proxy::cause::FIELD);
                    let hop = proxy::headers::is_hop_by_hop(name, &head.fields);
                    if !ours && (head.status == 101 || !hop) {
                        put_field(name, value, &mut out.buf);
                    }
                }
                out.buf.extend_from_slice(b"\r\n");
                if out.flush().await.is_err() {
                    return Answered::Cut;
                }
                if head.status == 101 {
                    out.head_sent = true;
                    return Answered::Switched;
                }
            }
            Ok(Frame::Response(head)) => break head,
            Ok(Frame::Abort(abort)) => return Answered::Not(Cause::parse(&abort.cause)),
            Ok(_) => return Answered::Not(Cause::Internal),
        }
    };
    if !is_sound(&head) {
        return Answered::Not(Cause::AppBroken);
    }
    let bodiless = is_bodiless(head.status, request.to_head);
    let encoding = match (bodiless, head.framing.length) {
        (true, _) | (false, Length::Known(_) | Length::Empty) => BodyEncoding::Plain,
        (false, Length::Unknown) if request.minor == Minor::One => BodyEncoding::Chunked,
        (false, Length::Unknown) => BodyEncoding::Plain,
    };
    // Towards HTTP/1.0 a body of unknown length ends with the connection.
    let until_close =
        !bodiless && head.framing.length == Length::Unknown && encoding == BodyEncoding::Plain;
    let close = !request.keep_alive || until_close;
    let mut remaining = Remaining(match (bodiless, head.framing.length) {
        (true, _) | (false, Length::Empty) => Some(0),
        (false, Length::Known(n)) => Some(n),
        (false, Length::Unknown) => None,
    });
    let mut framing = head.framing;
    if head.status == 204 {
        // RFC 9110, 8.6: a server MUST NOT send Content-Length in a 204.
        framing = wire::Framing {
            length: Length::Empty,
            place: None,
        };
    }
    if framing.length == Length::Empty && !bodiless {
        // A body without bytes and without a field that says so: say it.
        framing.length = Length::Known(0);
    }
    put_status_line(head.status, &head.reason, &mut out.buf);
    put_fields(
        &head.fields,
        &framing,
        Some(encoding),
        &mut out.buf,
        |name, _| passes(name, &head.fields),
    );
    if close {
        put_field(b"Connection", b"close", &mut out.buf);
    } else if request.minor == Minor::Zero {
        put_field(b"Connection", b"keep-alive", &mut out.buf);
    }
    out.buf.extend_from_slice(b"\r\n");
    out.head_sent = true;

    let mut trailers = Fields::new();
    loop {
        // What is here already leaves in one write with what came before it.
        let frame = match reader.ready() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => {
                if out.flush().await.is_err() {
                    return Answered::Cut;
                }
                reader.next().await
            }
            Err(error) => Err(error),
        };
        match frame {
            Ok(Frame::Data(data)) => {
                if !remaining.take(data.len()) || out.body(&data, encoding).await.is_err() {
                    return Answered::Cut;
                }
            }
            Ok(Frame::Trailers(fields)) if proxy::headers::are_writable(&fields) => {
                trailers = allowed(fields);
            }
            Ok(Frame::End) => {
                if !remaining.is_done() {
                    return Answered::Cut;
                }
                if !bodiless {
                    encoding.end(&trailers, &mut out.buf);
                }
                return match out.flush().await {
                    Ok(()) => Answered::Whole { close },
                    Err(_) => Answered::Cut,
                };
            }
            _ => {
                // What came of the body goes out; its end does not.
                let _ = out.flush().await;
                return Answered::Cut;
            }
        }
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

/// Copies raw bytes both ways until both sides have ended, or one fails.
async fn switched<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    sender: &mut Sender<R>,
    out: &mut Out<W>,
    writer: FrameWriter<SendHalf>,
    mut reader: FrameReader<RecvHalf>,
) {
    let mut to_client = writer.into_inner();
    let (from_client, rest) = reader.raw();
    let up = async {
        let first = sender.buf.split();
        to_client.write_all(&first).await?;
        tokio::io::copy(&mut sender.io, &mut to_client).await?;
        to_client.shutdown().await
    };
    let down = async {
        out.io.write_all(&rest).await?;
        out.io.flush().await?;
        tokio::io::copy(from_client, &mut out.io).await?;
        out.io.shutdown().await
    };
    let _ = tokio::try_join!(up, down);
}

/// The reading half of a connection, with what was read and not yet taken.
struct Sender<R> {
    io: R,
    buf: BytesMut,
}

impl<R: AsyncRead + Unpin> Sender<R> {
    /// Reads more. Returns 0 at the end. May be cancelled; nothing is lost.
    async fn fill(&mut self) -> io::Result<usize> {
        self.buf.reserve(READ);
        self.io.read_buf(&mut self.buf).await
    }

    /// The next request's head; `None` when the connection ends between two requests.
    async fn request(
        &mut self,
        first: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Request>, Cause> {
        if self.buf.is_empty() {
            let wait = if first {
                limits::FIRST_BYTE
            } else {
                limits::IDLE
            };
            tokio::select! {
                biased;
                filled = timeout(wait, self.fill()) => {
                    if !matches!(filled, Ok(Ok(1..))) {
                        return Ok(None);
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
            }
        }
        let head = async {
            loop {
                match parse_request(&mut self.buf) {
                    Ok(Some(request)) => return Ok(Some(request)),
                    Ok(None) => {}
                    Err(Refusal::TooLarge) => return Err(Cause::HeaderLimit),
                    Err(Refusal::Malformed(_) | Refusal::Version) => return Err(Cause::Malformed),
                }
                // Without a line's end in what is new the head has no end either.
                loop {
                    let known = self.buf.len();
                    match self.fill().await {
                        Ok(0) | Err(_) => return Ok(None),
                        Ok(_) if self.buf[known..].contains(&b'\n') => break,
                        Ok(_) if self.buf.len() > MAX_HEAD => break,
                        Ok(_) => {}
                    }
                }
            }
        };
        timeout(limits::HEAD, head)
            .await
            .unwrap_or(Err(Cause::SlowSender))
    }
}

/// The writing half of a connection.
struct Out<W> {
    io: W,
    buf: BytesMut,
    /// Whether some of the answer's final head may have left.
    head_sent: bool,
}

impl<W: AsyncWrite + Unpin> Out<W> {
    async fn flush(&mut self) -> io::Result<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let written = async {
            self.io.write_all(&self.buf).await?;
            self.io.flush().await
        };
        let written = timeout(limits::WRITE, written).await;
        self.buf.clear();
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes body bytes: copied when they are few, from where they are when they are many.
    async fn body(&mut self, data: &Bytes, encoding: BodyEncoding) -> io::Result<()> {
        encoding.before(data.len(), &mut self.buf);
        if data.len() <= COPY {
            self.buf.extend_from_slice(data);
            encoding.after(&mut self.buf);
            if self.buf.len() >= 4 * COPY {
                self.flush().await?;
            }
            return Ok(());
        }
        self.flush().await?;
        timeout(limits::WRITE, self.io.write_all(data))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        encoding.after(&mut self.buf);
        Ok(())
    }
}

/// Closes after an answer: says so, then reads away what still comes, so that a reset does not
/// take the answer from the sender (RFC 9112, 9.6).
async fn linger<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    sender: &mut Sender<R>,
    out: &mut Out<W>,
) {
    let _ = timeout(limits::LINGER, async {
        out.io.shutdown().await?;
        let mut left = limits::LINGER_BYTES;
        while left > 0 {
            sender.buf.clear();
            match sender.fill().await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        io::Result::Ok(())
    })
    .await;
}
