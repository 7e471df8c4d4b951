//! One authenticated connection, and the streams in it.

use crate::{tcp, windows};
use quinn::{ConnectionError, VarInt};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::close::Close;

/// One connection between a client and a relay. Clones are handles of the same connection; it
/// lives until it is closed or lost, or until the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Session(Carrier);

#[derive(Clone, Debug)]
enum Carrier {
    Quic {
        connection: quinn::Connection,
        /// The client's socket lives as long as its session.
        _endpoint: Option<quinn::Endpoint>,
    },
    Tcp(tcp::Connection),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The peer closed it.
    #[error("closed by the peer: {}{}", .0.as_str(), if .1.is_empty() { String::new() } else { format!(" ({})", .1) })]
    ByPeer(Close, String),
    /// We closed it.
    #[error("closed here")]
    Here,
    /// Nothing came from the peer for [`windows::DEAD_PEER`].
    #[error("nothing came from the other side for {} s", windows::DEAD_PEER.as_secs())]
    Silent,
    /// The peer has forgotten the session: it was restarted.
    #[error("the other side was restarted")]
    Reset,
    /// The transport failed.
    #[error("{0}")]
    Transport(String),
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Ended {
        match error {
            ConnectionError::ApplicationClosed(close) => Ended::ByPeer(
                Close(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
                printable(&String::from_utf8_lossy(&close.reason)),
            ),
            ConnectionError::LocallyClosed => Ended::Here,
            ConnectionError::TimedOut => Ended::Silent,
            ConnectionError::Reset => Ended::Reset,
            other => Ended::Transport(printable(&other.to_string())),
        }
    }
}

/// A peer's words as they may stand on one line of a log or a terminal: short, no controls.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

impl Session {
    pub(crate) fn quic(connection: quinn::Connection, endpoint: Option<quinn::Endpoint>) -> Self {
        Session(Carrier::Quic {
            connection,
            _endpoint: endpoint,
        })
    }

    pub(crate) fn tcp(connection: tcp::Connection) -> Session {
        Session(Carrier::Tcp(connection))
    }

    /// The relay's end of a TLS connection over TCP that chose [`wire::ALPN`].
    ///
    /// # Errors
    ///
    /// [`Ended`] when the peer does not speak HTTP/2 inside it, or TLS is older than 1.3.
    pub async fn over_tcp(
        stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
        peer: SocketAddr,
    ) -> Result<Session, Ended> {
        let connection = tcp::Connection::of_relay(stream, peer).await?;
        Ok(Session::tcp(connection))
    }

    /// Opens a stream. Waits while [`windows::STREAMS`] are open.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the session is over.
    pub async fn open(&self) -> Result<Stream, Ended> {
        match &self.0 {
            Carrier::Quic { connection, .. } => {
                let (send, recv) = connection.open_bi().await?;
                Ok(Stream::quic(send, recv))
            }
            Carrier::Tcp(connection) => connection.open().await,
        }
    }

    /// Waits for the peer's next stream.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the session is over.
    pub async fn accept(&self) -> Result<Stream, Ended> {
        match &self.0 {
            Carrier::Quic { connection, .. } => {
                let (send, recv) = connection.accept_bi().await?;
                Ok(Stream::quic(send, recv))
            }
            Carrier::Tcp(connection) => connection.accept().await,
        }
    }

    /// Waits until the session is over.
    pub async fn closed(&self) -> Ended {
        match &self.0 {
            Carrier::Quic { connection, .. } => connection.closed().await.into(),
            Carrier::Tcp(connection) => connection.closed().await,
        }
    }

    /// Ends the session at once, with a code and a reason for the peer.
    pub fn close(&self, code: Close, reason: &str) {
        match &self.0 {
            Carrier::Quic { connection, .. } => {
                connection.close(VarInt::from_u32(code.0), reason.as_bytes());
            }
            Carrier::Tcp(connection) => connection.close(code, reason),
        }
    }

    /// Gives an authenticated peer its full windows.
    pub fn trust(&self) {
        match &self.0 {
            Carrier::Quic { connection, .. } => {
                connection.set_receive_window(VarInt::from_u32(windows::SESSION));
            }
            Carrier::Tcp(connection) => connection.trust(),
        }
    }

    /// The smoothed round trip; `None` before one was measured. Over TCP only the client measures
    /// it, while little moves.
    pub fn rtt(&self) -> Option<Duration> {
        match &self.0 {
            Carrier::Quic { connection, .. } => Some(connection.rtt()),
            Carrier::Tcp(connection) => connection.rtt(),
        }
    }

    /// The peer's address now; over QUIC it changes when the peer migrates.
    pub fn remote(&self) -> SocketAddr {
        let peer = match &self.0 {
            Carrier::Quic { connection, .. } => connection.remote_address(),
            Carrier::Tcp(connection) => connection.remote(),
        };
        // An IPv4 peer of an IPv6 socket comes as ::ffff:1.2.3.4 (RFC 4291, 2.5.5.2).
        SocketAddr::new(peer.ip().to_canonical(), peer.port())
    }

    /// The transport's word on a screen: `quic` or `tcp`.
    pub fn transport(&self) -> &'static str {
        match &self.0 {
            Carrier::Quic { .. } => "quic",
            Carrier::Tcp(_) => "tcp",
        }
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446, 7.5).
    pub(crate) fn exporter(&self) -> Result<[u8; 32], Ended> {
        match &self.0 {
            Carrier::Quic { connection, .. } => {
                let mut out = [0; 32];
                connection
                    .export_keying_material(&mut out, wire::EXPORTER_LABEL, b"")
                    .map_err(|_| {
                        Ended::Transport(String::from("this TLS session exports no keys"))
                    })?;
                Ok(out)
            }
            Carrier::Tcp(connection) => Ok(connection.exporter()),
        }
    }
}

/// A two-way byte channel. Dropping it tells the peer that nobody is interested any more.
#[derive(Debug)]
pub struct Stream {
    /// To the peer.
    pub send: SendHalf,
    /// From the peer.
    pub recv: RecvHalf,
}

impl Stream {
    fn quic(send: quinn::SendStream, recv: quinn::RecvStream) -> Stream {
        Stream {
            send: SendHalf {
                half: Sending::Quic(send),
                finished: false,
            },
            recv: RecvHalf(Receiving::Quic(recv)),
        }
    }

    pub(crate) fn tcp(send: tcp::SendHalf, recv: tcp::RecvHalf) -> Stream {
        Stream {
            send: SendHalf {
                half: Sending::Tcp(send),
                finished: false,
            },
            recv: RecvHalf(Receiving::Tcp(recv)),
        }
    }
}

/// The sending half of a stream. Dropped without [`SendHalf::finish`], it is reset, and the peer
/// sees a cut.
#[derive(Debug)]
pub struct SendHalf {
    half: Sending,
    /// Nothing more follows; what was written is still on its way and must not be reset.
    finished: bool,
}

#[derive(Debug)]
enum Sending {
    Quic(quinn::SendStream),
    Tcp(tcp::SendHalf),
}

impl SendHalf {
    /// Says that nothing more will follow. What was written is still delivered.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        match &mut self.half {
            // It fails only when the peer has stopped the stream: nobody wants the end of it.
            Sending::Quic(stream) => drop(stream.finish()),
            Sending::Tcp(stream) => stream.finish(),
        }
    }

    /// Waits until the peer has lost interest in what we send, or, over QUIC, has received all
    /// of it.
    pub async fn stopped(&mut self) {
        match &mut self.half {
            Sending::Quic(stream) => drop(stream.stopped().await),
            Sending::Tcp(stream) => stream.stopped().await,
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        match &mut self.half {
            Sending::Quic(stream) => {
                let _ = stream.reset(VarInt::from_u32(Close::CANCELLED.0));
            }
            Sending::Tcp(stream) => stream.reset(Close::CANCELLED),
        }
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.half {
            Sending::Quic(stream) => AsyncWrite::poll_write(Pin::new(stream), cx, buf),
            Sending::Tcp(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.half {
            Sending::Quic(stream) => Pin::new(stream).poll_flush(cx),
            Sending::Tcp(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

/// The receiving half of a stream. Dropped before its end, the peer is told to stop sending.
#[derive(Debug)]
pub struct RecvHalf(Receiving);

#[derive(Debug)]
enum Receiving {
    Quic(quinn::RecvStream),
    Tcp(tcp::RecvHalf),
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Receiving::Quic(stream) => AsyncRead::poll_read(Pin::new(stream), cx, buf),
            Receiving::Tcp(stream) => stream.poll_read(cx, buf),
        }
    }
}
