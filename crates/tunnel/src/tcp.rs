//! A session over TLS over TCP, for networks that let no UDP through.
//!
//! ```text
//! client                                             relay
//! HTTP/2's server ◄── TLS 1.3, ALPN adit/1, TCP ──► HTTP/2's client
//!          control ◄── POST /control, first ──       both write what they would over QUIC
//!           accept ◄── POST /exchange ──             open
//!                  ◄── POST /close/CODE ──           close
//! GOAWAY BASE + CODE ──►                             ended
//! ```
//!
//! Streams, their windows and their resets are HTTP/2's (RFC 9113); what passes in them is the
//! same as over QUIC. HTTP/2 was measured against yamux: 12 us an exchange against 20 to 25.
//!
//! TCP itself may take many minutes to notice that a path is dead. A side that has written nothing
//! for [`windows::KEEP_ALIVE`] writes a sign, an empty frame of a type that HTTP/2 does not know
//! and ignores (RFC 9113, 5.5). A side that has seen nothing of the other for
//! [`windows::DEAD_PEER`] ends the session; it sees bytes that come, and a write that goes on
//! after it had to wait: then the other's kernel has taken some.
//!
//! Only the client pings, for the round trip, and only while little moves. A PING is answered
//! behind all that the other side has to send, so on a slow path it says too late who is alive.
//! And h2 reads nothing while a PING or the answer to one waits for a full socket: in the middle of
//! bulk both ways, two sides could wait for each other.

use crate::keepalive::{Keeper, Watched};
use crate::session::{Ended, Stream, printable};
use crate::windows;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, Uri};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use wire::close::{Close, HTTP2_BASE as BASE};

/// Bytes that one stream may have waiting for the socket. More would only lie in memory.
const SEND_BUFFER: usize = 256 * 1024;

/// Bytes that the kernel may hold unsent for the socket. What lies there goes out before a ping,
/// and a socket that was full takes more once half of it has left: with DATA frames of 16 KiB a
/// link of 100 kbit/s shows a sign of life within [`windows::DEAD_PEER`].
const UNSENT: u32 = 128 * 1024;

/// Bytes that TLS may hold encrypted for the socket; they too go out before a ping.
const ENCRYPTED: usize = 32 * 1024;

/// Streams that were reset here and are remembered, and for how long: what was on its way for
/// them is dropped in silence. h2 answers frames of a stream that it has forgotten with a reset,
/// and ends the connection after some of those; it remembers 50 for a second by default. The
/// client resets each stream that it has answered and the relay has not ended yet.
const REMEMBERED: usize = 16 * 1024;

/// See [`REMEMBERED`]. What lies in sockets and on a slow path arrives within it.
const MEMORY: Duration = Duration::from_secs(10);

/// Frames of forgotten streams that a client may send in the life of a session before the relay
/// ends it: each costs an answer that waits in memory.
const STRAYS: usize = 64 * 1024;

/// Streams that the relay may cancel before the client has looked at them. After a stall many
/// come at once.
const CANCELLED_UNSEEN: usize = 16 * 1024;

/// After closing, so long is what was said pushed out.
const GOODBYE: Duration = Duration::from_millis(500);

/// One connection, held by both kinds of end.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    remote: SocketAddr,
    exporter: [u8; 32],
    /// Microseconds; 0 before the first pong.
    rtt: Arc<AtomicU64>,
    ended: watch::Receiver<Option<Ended>>,
    commands: mpsc::Sender<Command>,
    /// Of the relay: opens streams. A lock and not a task: held to clone one handle.
    opener: Option<Mutex<h2::client::SendRequest<Bytes>>>,
    /// Of the relay: exchanges at once. h2 alone would also fill the places of control and of the
    /// goodbye, and call a stream open that still waits for one.
    places: Arc<Semaphore>,
    /// The control stream of the client; the relay gets it from `accepted`.
    control: Option<tokio::sync::Mutex<mpsc::Receiver<Stream>>>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    driver: AbortHandle,
    /// Closed here. The driver still says goodbye, and ends by itself within [`GOODBYE`].
    closing: watch::Sender<bool>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tcp({})", self.remote)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.closing.borrow() {
            self.driver.abort();
        }
    }
}

enum Command {
    Trust,
    Close(Close, String),
}

impl Connection {
    /// The relay's end of a connection whose TLS handshake chose [`wire::ALPN`].
    pub(crate) async fn of_relay(
        mut stream: tokio_rustls::server::TlsStream<TcpStream>,
        remote: SocketAddr,
    ) -> Result<Connection, Ended> {
        let (tcp, tls) = stream.get_ref();
        tune(tcp);
        let exporter = exporter(tls)?;
        stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
        let (io, life) = Watched::new(stream);
        let (opener, mut connection) = h2::client::Builder::new()
            .initial_window_size(windows::UNKNOWN_PEER)
            .max_concurrent_streams(0)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED)
            .reset_stream_duration(MEMORY)
            .max_local_error_reset_streams(Some(STRAYS))
            .enable_push(false)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|error| ended(&error))?;
        let rtt = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper::new(None, life, Arc::clone(&rtt));
        let (commands, mut orders) = mpsc::channel(4);
        let (ends, over) = watch::channel(None);
        let (accepts, accepted) = mpsc::channel(1);
        let mut for_close = opener.clone();
        let mut for_control = opener.clone();
        let driver = tokio::spawn(async move {
            let drive = async {
                loop {
                    tokio::select! {
                        biased;
                        order = orders.recv() => match order {
                            Some(Command::Trust) => {
                                connection.set_target_window_size(windows::SESSION);
                                let _ = connection.set_initial_window_size(windows::STREAM);
                            }
                            Some(Command::Close(code, reason)) => {
                                let _ = for_close.send_request(goodbye(code, &reason), true);
                                let _ = tokio::time::timeout(GOODBYE, &mut connection).await;
                                return Ended::Here;
                            }
                            None => std::future::pending().await,
                        },
                        result = &mut connection => return match result {
                            Ok(()) => hung_up(),
                            Err(error) => ended(&error),
                        },
                        is_dead = keeper.is_dead() => if is_dead {
                            return Ended::Silent;
                        },
                    }
                }
            };
            let why = drive.await;
            ends.send_replace(Some(why));
        });
        let inner = Arc::new(Inner {
            remote,
            exporter,
            rtt,
            ended: over,
            commands,
            opener: Some(Mutex::new(opener)),
            places: Arc::new(Semaphore::new(windows::STREAMS as usize)),
            control: None,
            accepted: tokio::sync::Mutex::new(accepted),
            driver: driver.abort_handle(),
            closing: watch::Sender::new(false),
        });
        let control = request(&mut for_control, "/control", None).await?;
        // The channel has room for exactly this one.
        let _ = accepts.try_send(control);
        Ok(Connection { inner })
    }

    /// The client's end of a connection whose TLS handshake chose [`wire::ALPN`].
    pub(crate) async fn of_client(
        mut stream: tokio_rustls::client::TlsStream<TcpStream>,
        remote: SocketAddr,
    ) -> Result<Connection, Ended> {
        let (tcp, tls) = stream.get_ref();
        tune(tcp);
        let exporter = exporter(tls)?;
        stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
        let (io, life) = Watched::new(stream);
        let mut connection = h2::server::Builder::new()
            .initial_window_size(windows::STREAM)
            .initial_connection_window_size(windows::SESSION)
            // Exchanges, and control, and the goodbye.
            .max_concurrent_streams(windows::STREAMS + 2)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED)
            .reset_stream_duration(MEMORY)
            // The relay is the one whom the client has chosen.
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams(CANCELLED_UNSEEN)
            .max_header_list_size(4 * 1024)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|error| ended(&error))?;
        let pings = connection.ping_pong();
        let rtt = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper::new(pings, life, Arc::clone(&rtt));
        let (commands, mut orders) = mpsc::channel(4);
        let (ends, over) = watch::channel(None);
        let (controls, control) = mpsc::channel(1);
        let (accepts, accepted) = mpsc::channel(windows::STREAMS as usize);
        let driver = tokio::spawn(async move {
            let drive = async {
                loop {
                    tokio::select! {
                        biased;
                        order = orders.recv() => match order {
                            Some(Command::Trust) => {}
                            Some(Command::Close(code, _)) => {
                                connection.abrupt_shutdown(Reason::from(BASE + code.0));
                                let closed = std::future::poll_fn(|cx| connection.poll_closed(cx));
                                let _ = tokio::time::timeout(GOODBYE, closed).await;
                                return Ended::Here;
                            }
                            None => std::future::pending().await,
                        },
                        request = connection.accept() => match request {
                            None => return hung_up(),
                            Some(Err(error)) => return ended(&error),
                            Some(Ok((request, respond))) => {
                                let path = request.uri().path();
                                if let Some(code) = path.strip_prefix("/close/") {
                                    let code = code.parse().unwrap_or(Close::INTERNAL.0);
                                    let reason = request.uri().query().unwrap_or_default();
                                    return Ended::ByPeer(Close(code), unquoted(reason));
                                }
                                let to = match path {
                                    "/control" => &controls,
                                    _ => &accepts,
                                };
                                answer(request, respond, to);
                            }
                        },
                        is_dead = keeper.is_dead() => if is_dead {
                            return Ended::Silent;
                        },
                    }
                }
            };
            let why = drive.await;
            ends.send_replace(Some(why));
        });
        Ok(Connection {
            inner: Arc::new(Inner {
                remote,
                exporter,
                rtt,
                ended: over,
                commands,
                opener: None,
                places: Arc::new(Semaphore::new(0)),
                control: Some(tokio::sync::Mutex::new(control)),
                accepted: tokio::sync::Mutex::new(accepted),
                driver: driver.abort_handle(),
                closing: watch::Sender::new(false),
            }),
        })
    }

    /// The relay opens a stream; the client gets its one, the control stream.
    pub(crate) async fn open(&self) -> Result<Stream, Ended> {
        // For the driver's last moments: nobody would answer.
        if *self.inner.closing.borrow() {
            return Err(Ended::Here);
        }
        let mut opener = match (&self.inner.opener, &self.inner.control) {
            (Some(opener), _) => opener
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            (None, Some(control)) => return self.take(control).await,
            (None, None) => return Err(Ended::Here),
        };
        let opened = async {
            let place = Arc::clone(&self.inner.places).acquire_owned().await;
            // Nobody closes the semaphore.
            let place = place.map_err(|_| Ended::Here)?;
            request(&mut opener, "/exchange", Some(place)).await
        };
        tokio::select! {
            biased;
            opened = opened => match opened {
                Ok(stream) => Ok(stream),
                Err(error) => Err(self.end_now().unwrap_or(error)),
            },
            ended = self.closed() => Err(ended),
        }
    }

    pub(crate) async fn accept(&self) -> Result<Stream, Ended> {
        self.take(&self.inner.accepted).await
    }

    async fn take(
        &self,
        streams: &tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    ) -> Result<Stream, Ended> {
        let mut streams = streams.lock().await;
        tokio::select! {
            biased;
            stream = streams.recv() => match stream {
                Some(stream) => Ok(stream),
                // The queue ends with its driver, or on the relay when its one stream was taken.
                None => Err(self.closed().await),
            },
            ended = self.closed() => Err(ended),
        }
    }

    fn end_now(&self) -> Option<Ended> {
        self.inner.ended.borrow().clone()
    }

    pub(crate) async fn closed(&self) -> Ended {
        let mut over = self.inner.ended.clone();
        let mut closing = self.inner.closing.subscribe();
        let ended = tokio::select! {
            biased;
            ended = over.wait_for(Option::is_some) => ended.ok().and_then(|ended| ended.clone()),
            _ = closing.wait_for(|closing| *closing) => None,
        };
        // Without a word: it was closed here, or its driver was stopped.
        ended.unwrap_or(Ended::Here)
    }

    pub(crate) fn close(&self, code: Close, reason: &str) {
        self.inner.closing.send_replace(true);
        // Full: it is being closed already, or its driver has ended.
        let _ = self
            .inner
            .commands
            .try_send(Command::Close(code, reason.to_owned()));
    }

    pub(crate) fn trust(&self) {
        let _ = self.inner.commands.try_send(Command::Trust);
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        let micros = self.inner.rtt.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.inner.remote
    }

    pub(crate) fn exporter(&self) -> [u8; 32] {
        self.inner.exporter
    }
}

/// Small writes leave at once, and not much lies in the kernel before a ping.
fn tune(tcp: &TcpStream) {
    // Without these it is slower, not wrong.
    let _ = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(tcp);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, UNSENT);
}

fn exporter<Data>(tls: &rustls::ConnectionCommon<Data>) -> Result<[u8; 32], Ended> {
    let refused = |what: &str| Ended::Transport(what.to_owned());
    if tls.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return Err(refused("a tunnel needs TLS 1.3"));
    }
    tls.export_keying_material([0; 32], wire::EXPORTER_LABEL, Some(b""))
        .map_err(|_| refused("this TLS session exports no keys"))
}

/// Opens a stream of the relay's. Waits while the client allows no more at once.
async fn request(
    opener: &mut h2::client::SendRequest<Bytes>,
    path: &'static str,
    place: Option<OwnedSemaphorePermit>,
) -> Result<Stream, Ended> {
    std::future::poll_fn(|cx| opener.poll_ready(cx))
        .await
        .map_err(|error| ended(&error))?;
    let (answer, send) = opener
        .send_request(post(Uri::from_static(path)), false)
        .map_err(|error| ended(&error))?;
    // Ready again means that the stream has left the queue of those that wait for a free place.
    std::future::poll_fn(|cx| opener.poll_ready(cx))
        .await
        .map_err(|error| ended(&error))?;
    let place = place.map(Arc::new);
    Ok(Stream::tcp(
        SendHalf {
            stream: send,
            _place: place.clone(),
        },
        RecvHalf {
            state: State::Waiting(answer),
            chunk: Bytes::new(),
            _place: place,
        },
    ))
}

fn post(uri: Uri) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request
}

/// The relay's last request: why the session ends.
fn goodbye(code: Close, reason: &str) -> Request<()> {
    let reason: String = reason
        .bytes()
        .take(200)
        .map(|b| match b.is_ascii_alphanumeric() {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect();
    let uri = format!("/close/{}?{reason}", code.0);
    post(uri.parse().unwrap_or_else(|_| Uri::from_static("/close/7")))
}

/// Percent-decodes the reason of a goodbye; at most 200 characters of it.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
                _ => break,
            },
            byte => bytes.push(byte),
        }
    }
    printable(&String::from_utf8_lossy(&bytes))
}

/// Answers a request of the relay's and hands its two directions over as a stream.
fn answer(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    to: &mpsc::Sender<Stream>,
) {
    let Ok(permit) = to.try_reserve() else {
        // More streams than were allowed at once.
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    };
    if let Ok(send) = respond.send_response(Response::new(()), false) {
        permit.send(Stream::tcp(
            SendHalf {
                stream: send,
                _place: None,
            },
            RecvHalf {
                state: State::Open(request.into_body()),
                chunk: Bytes::new(),
                _place: None,
            },
        ));
    }
}

fn hung_up() -> Ended {
    Ended::Transport(String::from("the other side closed the connection"))
}

fn ended(error: &h2::Error) -> Ended {
    match error.reason().map(u32::from) {
        Some(code) if code >= BASE => Ended::ByPeer(Close(code - BASE), String::new()),
        _ if error.is_io() => Ended::Transport(match error.get_io() {
            Some(error) => printable(&error.to_string()),
            None => printable(&error.to_string()),
        }),
        _ => Ended::Transport(printable(&error.to_string())),
    }
}

/// The sending direction of a stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    stream: SendStream<Bytes>,
    /// One of the relay's places, given back with the stream's second half.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl SendHalf {
    /// Nothing more follows. Fails only when nobody wants the end of it.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    pub(crate) fn reset(&mut self, code: Close) {
        self.stream.send_reset(Reason::from(BASE + code.0));
    }

    /// Waits until the peer has lost interest.
    pub(crate) async fn stopped(&mut self) {
        let _ = std::future::poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.stream.reserve_capacity(buf.len().min(SEND_BUFFER));
        let mut room = self.stream.capacity();
        while room == 0 {
            room = match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let n = room.min(buf.len());
        match self
            .stream
            .send_data(Bytes::copy_from_slice(&buf[..n]), false)
        {
            Ok(()) => Poll::Ready(Ok(n)),
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }
}

/// The receiving direction of a stream.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    state: State,
    /// Read from HTTP/2 and not yet taken. Its credit goes back as it is taken.
    chunk: Bytes,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

#[derive(Debug)]
enum State {
    /// Of the relay, before the client has answered.
    Waiting(h2::client::ResponseFuture),
    Open(RecvStream),
}

impl RecvHalf {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let stream = match &mut self.state {
                State::Open(stream) => stream,
                State::Waiting(answer) => match ready!(Pin::new(answer).poll(cx)) {
                    Ok(response) => {
                        self.state = State::Open(response.into_body());
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(io_error(error))),
                },
            };
            if !self.chunk.is_empty() {
                let n = self.chunk.len().min(buf.remaining());
                buf.put_slice(&self.chunk.split_to(n));
                let _ = stream.flow_control().release_capacity(n);
                return Poll::Ready(Ok(()));
            }
            match ready!(stream.poll_data(cx)) {
                // An empty piece would look like the end.
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        // h2 gives back the credit of what it holds itself, and of the rest not before the sending
        // half is dropped too.
        if let State::Open(stream) = &mut self.state {
            let _ = stream.flow_control().release_capacity(self.chunk.len());
        }
    }
}

fn io_error(error: h2::Error) -> io::Error {
    // As over QUIC: a stream that was reset, or a session that is over.
    let kind = match error.is_reset() {
        true => io::ErrorKind::ConnectionReset,
        false => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}
