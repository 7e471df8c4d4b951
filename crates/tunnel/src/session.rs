//! One authenticated connection, and the streams in it.

use crate::windows;
use quinn::{ConnectionError, VarInt};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::close::Close;

/// One connection between a client and a relay. Clones are handles of the same connection; it
/// lives until it is closed or lost, or until the last handle and the last stream are dropped.
#[derive(Clone, Debug)]
pub struct Session {
    connection: quinn::Connection,
    /// The client's socket lives as long as its session.
    _endpoint: Option<quinn::Endpoint>,
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
                String::from_utf8_lossy(&close.reason)
                    .chars()
                    .take(200)
                    .collect(),
            ),
            ConnectionError::LocallyClosed => Ended::Here,
            ConnectionError::TimedOut => Ended::Silent,
            ConnectionError::Reset => Ended::Reset,
            other => Ended::Transport(other.to_string()),
        }
    }
}

impl Session {
    pub(crate) fn new(connection: quinn::Connection, endpoint: Option<quinn::Endpoint>) -> Session {
        Session {
            connection,
            _endpoint: endpoint,
        }
    }

    /// Opens a stream. Waits while [`windows::STREAMS`] are open.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the session is over.
    pub async fn open(&self) -> Result<Stream, Ended> {
        let (send, recv) = self.connection.open_bi().await?;
        Ok(Stream {
            send: SendHalf {
                stream: send,
                finished: false,
            },
            recv: RecvHalf(recv),
        })
    }

    /// Waits for the peer's next stream.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the session is over.
    pub async fn accept(&self) -> Result<Stream, Ended> {
        let (send, recv) = self.connection.accept_bi().await?;
        Ok(Stream {
            send: SendHalf {
                stream: send,
                finished: false,
            },
            recv: RecvHalf(recv),
        })
    }

    /// Waits until the session is over.
    pub async fn closed(&self) -> Ended {
        self.connection.closed().await.into()
    }

    /// Ends the session at once, with a code and a reason for the peer.
    pub fn close(&self, code: Close, reason: &str) {
        self.connection
            .close(VarInt::from_u32(code.0), reason.as_bytes());
    }

    /// Gives an authenticated peer its full windows.
    pub fn trust(&self) {
        self.connection
            .set_receive_window(VarInt::from_u32(windows::SESSION));
    }

    /// The smoothed round trip.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// The peer's address now; it changes when the peer migrates.
    pub fn remote(&self) -> SocketAddr {
        let peer = self.connection.remote_address();
        // An IPv4 peer of an IPv6 socket comes as ::ffff:1.2.3.4 (RFC 4291, 2.5.5.2).
        SocketAddr::new(peer.ip().to_canonical(), peer.port())
    }

    /// The transport's word on a screen.
    pub fn transport(&self) -> &'static str {
        "quic"
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446, 7.5).
    pub(crate) fn exporter(&self) -> Result<[u8; 32], Ended> {
        let mut out = [0; 32];
        self.connection
            .export_keying_material(&mut out, wire::EXPORTER_LABEL, b"")
            .map_err(|_| Ended::Transport(String::from("this TLS session exports no keys")))?;
        Ok(out)
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

/// The sending half of a stream. Dropped without [`SendHalf::finish`], it is reset, and the peer
/// sees a cut.
#[derive(Debug)]
pub struct SendHalf {
    stream: quinn::SendStream,
    /// Nothing more follows; what was written is still on its way and must not be reset.
    finished: bool,
}

impl SendHalf {
    /// Says that nothing more will follow. What was written is still delivered.
    pub fn finish(mut self) {
        // It fails only when the peer has stopped the stream: nobody wants the end of it.
        let _ = self.stream.finish();
        self.finished = true;
    }

    /// Waits until the peer has lost interest in what we send, or has received all of it.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.stream.stopped();
        async move {
            let _ = stopped.await;
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.stream.reset(VarInt::from_u32(Close::CANCELLED.0));
        }
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The receiving half of a stream. Dropped before its end, the peer is told to stop sending.
#[derive(Debug)]
pub struct RecvHalf(quinn::RecvStream);

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buf)
    }
}
