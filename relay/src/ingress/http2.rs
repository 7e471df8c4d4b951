//! HTTP/2 connections, read and written by hyper.

use super::{Exchange, Ingress, Remaining, SenderFault, is_bodiless, is_sound, passes};
use crate::answer::Answer;
use crate::limits;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame as BodyFrame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proxy::frames::FrameError;
use proxy::{Cause, FrameReader, FrameWriter};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tunnel::{RecvHalf, SendHalf};
use wire::{Fields, Frame, Framing, Length, Place, RequestHead, Version};

/// Serves the requests of one connection, many at once.
pub(super) async fn serve<S>(
    ingress: Arc<Ingress>,
    stream: S,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (running, mut changes) = watch::channel(Running::default());
    let service = service_fn(move |request| {
        let ingress = Arc::clone(&ingress);
        let one_more = OneMore::new(&running);
        async move {
            let mut response = exchange(ingress, request, peer).await;
            response.body_mut().running = Some(one_more);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(proxy::http1::MAX_HEAD as u32)
        .max_pending_accept_reset_streams(limits::H2_RESETS)
        .max_local_error_reset_streams(limits::H2_RESETS)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // hyper has no timer before the preface, nor between two requests.
    loop {
        let Running { now, ever } = *changes.borrow_and_update();
        let wait = if ever {
            limits::IDLE
        } else {
            limits::FIRST_BYTE
        };
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => break,
            _ = changes.changed() => {}
            () = tokio::time::sleep(wait), if now == 0 => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    // What runs may finish; a peer that then does not close is left.
    loop {
        let Running { now, .. } = *changes.borrow_and_update();
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            _ = changes.changed() => {}
            () = tokio::time::sleep(limits::LINGER), if now == 0 => return,
        }
    }
}

/// How many requests of a connection run now, and whether there ever was one.
#[derive(Clone, Copy, Default)]
struct Running {
    now: u32,
    ever: bool,
}

/// Counts one request until its answer has been handed over.
struct OneMore(watch::Sender<Running>);

impl OneMore {
    fn new(running: &watch::Sender<Running>) -> OneMore {
        running.send_modify(|running| {
            running.now += 1;
            running.ever = true;
        });
        OneMore(running.clone())
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.send_modify(|running| running.now -= 1);
    }
}

async fn exchange(
    ingress: Arc<Ingress>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Answering> {
    let to_head = request.method() == http::Method::HEAD;
    let (parts, mut body) = request.into_parts();
    // A sender that waits for 100 has sent nothing that could be read away.
    let waits = parts.headers.contains_key(http::header::EXPECT);
    // RFC 9113, 8.3.1: :authority counts; Host, where it came too, must say the same.
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let authority = match (authority, host) {
        (Some(authority), None) => authority,
        (Some(authority), Some(host)) if host.eq_ignore_ascii_case(authority.as_bytes()) => {
            authority
        }
        (None, Some(host)) => String::from_utf8_lossy(host).into_owned(),
        _ => String::new(),
    };
    // hyper takes more for a host than RFC 3986, 3.2.2 does.
    if authority.is_empty()
        || proxy::http1::authority(authority.as_bytes()).is_err()
        || hosts.next().is_some()
        || parts.method == http::Method::CONNECT
        || parts.uri.path() == "*" && parts.method != http::Method::OPTIONS
    {
        let answer = Answer {
            cause: Cause::Malformed,
            request: None,
        };
        return early(&answer, to_head, &mut body, waits).await;
    }
    let Exchange {
        request: id,
        mut writer,
        reader,
        share,
    } = match ingress.open(&authority, peer, Version::Http2).await {
        Ok(exchange) => exchange,
        Err(answer) => return early(&answer, to_head, &mut body, waits).await,
    };
    let Some(head) = request_head(&parts, &body) else {
        let answer = Answer {
            cause: Cause::Malformed,
            request: Some(id),
        };
        return early(&answer, to_head, &mut body, waits).await;
    };
    writer.put(&Frame::Request(head));

    let (head_to, head_from) = oneshot::channel();
    // One piece waits here while hyper sends another: backpressure, not a buffer.
    let (body_to, body_from) = mpsc::channel(1);
    let is_whole = Arc::new(AtomicBool::new(false));
    let whole = Arc::clone(&is_whole);
    let pump = AbortOnDrop(tokio::spawn(async move {
        let _share = share;
        let mut head_to = Some(head_to);
        let cause = {
            let mut up = pin!(upload(&mut body, &mut writer));
            let mut down = pin!(download(reader, to_head, &mut head_to, body_to, &whole));
            let mut uploading = true;
            loop {
                tokio::select! {
                    biased;
                    done = &mut down => break done.err(),
                    // Dropping both halves of the stream tells the client.
                    fault = &mut up, if uploading => match fault {
                        SenderFault::NotWanted => uploading = false,
                        SenderFault::Gone => return,
                        SenderFault::Malformed => break Some(Cause::Malformed),
                        SenderFault::Slow => break Some(Cause::SlowSender),
                    },
                }
            }
        };
        if let (Some(cause), Some(head_to)) = (cause, head_to) {
            read_away(&mut body, waits).await;
            let _ = head_to.send(Err(cause));
        } else if whole.load(Ordering::Acquire) {
            // The client has all it needs; the stream ends in order and is not reset.
            writer.into_inner().finish();
        }
    }));
    match head_from.await {
        Ok(Ok((head, length))) => {
            let answering = Answering {
                body: Some(body_from),
                length,
                is_whole,
                _pump: Some(pump),
                running: None,
            };
            response(&head, answering)
        }
        Ok(Err(cause)) => answered(
            &Answer {
                cause,
                request: Some(id),
            },
            to_head,
        ),
        Err(_) => answered(
            &Answer {
                cause: Cause::TunnelLost,
                request: Some(id),
            },
            to_head,
        ),
    }
}

/// The head as it is carried: names in lower case as HTTP/2 has them. Repeated names stand
/// together; `cookie` crumbs are joined (RFC 9113, 8.2.3).
fn request_head(parts: &http::request::Parts, body: &Incoming) -> Option<RequestHead> {
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut fields = Fields::with_capacity(parts.headers.len());
    let mut place = None;
    let mut length = None;
    for name in parts.headers.keys() {
        let bytes = Bytes::copy_from_slice(name.as_str().as_bytes());
        let values = parts.headers.get_all(name).iter();
        if name == http::header::CONTENT_LENGTH {
            let mut values = values.map(HeaderValue::to_str);
            let n = values.next()?.ok()?.parse::<u64>().ok()?;
            if values.next().is_some() || n > wire::codec::MAX_VARINT {
                return None;
            }
            length = Some(n);
            place = Some(Place {
                index: fields.len(),
                name: bytes,
            });
        } else if name == http::header::TRANSFER_ENCODING {
            return None;
        } else if name == http::header::COOKIE {
            let crumbs: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
            fields.push((bytes, crumbs.join(&b"; "[..]).into()));
        } else {
            for value in values {
                fields.push((bytes.clone(), Bytes::copy_from_slice(value.as_bytes())));
            }
        }
    }
    if fields.len() > proxy::http1::MAX_FIELDS {
        return None;
    }
    let length = match length {
        Some(n) => Length::Known(n),
        None if body.is_end_stream() => Length::Empty,
        None => Length::Unknown,
    };
    Some(RequestHead {
        method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        fields,
        framing: Framing { length, place },
    })
}

/// An answer of ours before the request's end.
async fn early(
    answer: &Answer,
    to_head: bool,
    body: &mut Incoming,
    waits: bool,
) -> Response<Answering> {
    read_away(body, waits).await;
    answered(answer, to_head)
}

/// Reads what comes of a request that is answered early, within [`limits::LINGER`]. Without it
/// the stream is reset behind the answer, which RFC 9113, 8.1 allows, and curl, still sending,
/// reports an error in place of the answer.
async fn read_away(body: &mut Incoming, waits: bool) {
    if waits {
        return;
    }
    let _ = timeout(limits::LINGER, async {
        let mut left = limits::LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(len);
            if left == 0 {
                break;
            }
        }
    })
    .await;
}

/// Carries the request's body to the client. Never ends well: it runs until the answer is there,
/// and holds the stream's sending half.
async fn upload(body: &mut Incoming, writer: &mut FrameWriter<SendHalf>) -> SenderFault {
    while !body.is_end_stream() {
        if writer.flush().await.is_err() {
            return SenderFault::NotWanted;
        }
        let frame = match timeout(limits::BODY_PIECE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return SenderFault::Gone,
            Err(_) => return SenderFault::Slow,
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if writer.data(&data).await.is_err() {
                    return SenderFault::NotWanted;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let fields = fields_of(&trailers);
                    if fields.len() > proxy::http1::MAX_FIELDS {
                        return SenderFault::Malformed;
                    }
                    writer.put(&Frame::Trailers(fields));
                }
            }
        }
    }
    let _ = writer.send(&Frame::End).await;
    // The sending half must not end before the answer does: that is how the client tells a
    // sender that waits from one that is gone.
    writer.raw().stopped().await;
    SenderFault::NotWanted
}

fn fields_of(map: &HeaderMap) -> Fields {
    map.iter()
        .filter(|(name, _)| proxy::headers::may_trail(name.as_str().as_bytes()))
        .map(|(name, value)| {
            (
                Bytes::copy_from_slice(name.as_str().as_bytes()),
                Bytes::copy_from_slice(value.as_bytes()),
            )
        })
        .collect()
}

type Piece = Result<BodyFrame<Bytes>, io::Error>;

/// An answer's head and its body's length, or why there is none.
type Head = Result<(wire::ResponseHead, Option<u64>), Cause>;

/// Hands the client's answer to hyper: its head once, then its body piece by piece, and says
/// `whole` when all of it came. Fails when no head came; `head_to` is still there then.
async fn download(
    mut reader: FrameReader<RecvHalf>,
    to_head: bool,
    head_to: &mut Option<oneshot::Sender<Head>>,
    body_to: mpsc::Sender<Piece>,
    whole: &AtomicBool,
) -> Result<(), Cause> {
    let head = loop {
        match reader.next().await {
            // hyper's server has no way to send 1xx.
            Ok(Frame::Informational(head)) if head.status != 101 => {}
            Ok(Frame::Response(head)) if is_sound(&head) => break head,
            Ok(Frame::Abort(abort)) => return Err(Cause::parse(&abort.cause)),
            Ok(Frame::Response(_) | Frame::Informational(_)) => return Err(Cause::AppBroken),
            Err(FrameError::Lost(_) | FrameError::Ended) => return Err(Cause::TunnelLost),
            Ok(_) | Err(_) => return Err(Cause::Internal),
        }
    };
    let bodiless = is_bodiless(head.status, to_head);
    let length = match (bodiless, head.framing.length) {
        (true, _) | (false, Length::Empty) => Some(0),
        (false, Length::Known(n)) => Some(n),
        (false, Length::Unknown) => None,
    };
    let mut remaining = Remaining(length);
    let asked = head_to.take();
    if asked.is_none_or(|asked| asked.send(Ok((head, length))).is_err()) {
        return Ok(());
    }
    loop {
        let piece = match reader.next().await {
            Ok(Frame::Data(data)) if remaining.take(data.len()) => Ok(BodyFrame::data(data)),
            Ok(Frame::Trailers(fields)) => {
                let mut map = HeaderMap::new();
                put(&fields, &mut map, proxy::headers::may_trail);
                Ok(BodyFrame::trailers(map))
            }
            Ok(Frame::End) if remaining.is_done() => {
                whole.store(true, Ordering::Release);
                return Ok(());
            }
            _ => {
                // A reset takes with it what HTTP/2 has not sent yet: the sender gets what came.
                tokio::time::sleep(limits::BEFORE_CUT).await;
                return Ok(());
            }
        };
        // A sender that takes no byte of its answer for so long is gone.
        let taken = timeout(limits::WRITE, body_to.send(piece));
        if !matches!(taken.await, Ok(Ok(()))) {
            return Ok(());
        }
    }
}

fn put(fields: &Fields, map: &mut HeaderMap, wanted: impl Fn(&[u8]) -> bool) {
    for (name, value) in fields {
        if !wanted(name) {
            continue;
        }
        let parsed = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = parsed {
            map.append(name, value);
        }
    }
}

fn response(head: &wire::ResponseHead, body: Answering) -> Response<Answering> {
    let mut response = Response::new(body);
    // is_sound has checked that the status is one.
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or_default();
    put(&head.fields, response.headers_mut(), |name| {
        passes(name, &head.fields)
    });
    if let (Length::Known(n), true) = (head.framing.length, head.status != 204) {
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    response
}

fn answered(answer: &Answer, to_head: bool) -> Response<Answering> {
    let text = answer.body();
    let length = text.len();
    let (to, from) = mpsc::channel(1);
    if !to_head {
        // The channel has room for exactly this piece.
        let _ = to.try_send(Ok(BodyFrame::data(Bytes::from(text))));
    }
    let length_sent = if to_head { 0 } else { length as u64 };
    let mut response = Response::new(Answering {
        body: Some(from),
        length: Some(length_sent),
        is_whole: Arc::new(AtomicBool::new(true)),
        _pump: None,
        running: None,
    });
    *response.status_mut() = http::StatusCode::from_u16(answer.cause.status())
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let fields: Fields = answer
        .fields()
        .into_iter()
        .map(|(name, value)| (Bytes::from_static(name.as_bytes()), Bytes::from(value)))
        .collect();
    put(&fields, response.headers_mut(), |_| true);
    response
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The body of an answer as hyper takes it. Dropped by hyper when the sender resets the stream,
/// which ends the exchange.
struct Answering {
    body: Option<mpsc::Receiver<Piece>>,
    length: Option<u64>,
    /// Without this, the end of `body` is a cut.
    is_whole: Arc<AtomicBool>,
    _pump: Option<AbortOnDrop>,
    running: Option<OneMore>,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match &mut self.body {
            None => Poll::Ready(None),
            Some(body) => match ready!(body.poll_recv(cx)) {
                None if !self.is_whole.load(Ordering::Acquire) => {
                    Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
                }
                piece => Poll::Ready(piece),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(n) => SizeHint::with_exact(n),
            None => SizeHint::default(),
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
