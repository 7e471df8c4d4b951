//! Signs of life of a session over TCP, which by itself may take many minutes to notice that a
//! path is dead: what counts as one, when one is due, and when the peer has given none for too
//! long. QUIC has its own.

use crate::windows;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Fewer bytes than this in [`windows::KEEP_ALIVE`] fill no socket that a ping could wait for.
const LITTLE: u64 = 64 * 1024;

/// Pings, and knows when the peer last showed itself.
pub(crate) struct Keeper {
    /// Of the client.
    pings: Option<h2::PingPong>,
    life: Arc<Life>,
    rtt: Arc<AtomicU64>,
    tick: tokio::time::Interval,
    asked: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(pings: Option<h2::PingPong>, life: Arc<Life>, rtt: Arc<AtomicU64>) -> Keeper {
        let mut tick = tokio::time::interval(windows::KEEP_ALIVE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Keeper {
            pings,
            life,
            rtt,
            tick,
            asked: None,
        }
    }

    /// Waits for the next look at the peer: whether there was no sign of it for
    /// [`windows::DEAD_PEER`]. The connection must be polled again afterwards, so that what is due
    /// goes out. May be cancelled and called again.
    pub(crate) async fn is_dead(&mut self) -> bool {
        loop {
            let pong = async {
                match &mut self.pings {
                    Some(pings) => std::future::poll_fn(|cx| pings.poll_pong(cx)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                pong = pong, if self.asked.is_some() => {
                    if pong.is_err() {
                        // The connection's own end says why.
                        return std::future::pending().await;
                    }
                    if let Some(asked) = self.asked.take() {
                        let now = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                        let before = self.rtt.load(Ordering::Relaxed);
                        // Smoothed as TCP does it (RFC 6298, 2.3).
                        let smooth = if before == 0 { now } else { (before * 7 + now) / 8 };
                        self.rtt.store(smooth.max(1), Ordering::Relaxed);
                    }
                }
                _ = self.tick.tick() => {
                    let written = self.life.written.swap(0, Ordering::Relaxed);
                    let moved = written + self.life.read.swap(0, Ordering::Relaxed);
                    if let (Some(pings), None) = (&mut self.pings, self.asked)
                        && moved < LITTLE
                        && pings.send_ping(h2::Ping::opaque()).is_ok()
                    {
                        self.asked = Some(Instant::now());
                    } else if written == 0 {
                        self.life.is_due.store(true, Ordering::Relaxed);
                    }
                    return self.life.silent_for() > windows::DEAD_PEER;
                }
            }
        }
    }
}

/// When the peer last showed itself.
pub(crate) struct Life {
    begin: Instant,
    /// Milliseconds after `begin`.
    heard: AtomicU64,
    /// Bytes since the last look.
    read: AtomicU64,
    written: AtomicU64,
    /// A sign of ours is due.
    is_due: AtomicBool,
}

impl Life {
    fn hear(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(heard)
    }
}

/// An empty frame of a type that nobody knows: no flags, on stream 0.
const SIGN: [u8; 9] = [0, 0, 0, 0xad, 0, 0, 0, 0, 0];

/// Notes when bytes come, and when the peer makes room for more. Writes signs.
///
/// When the connection breaks, what the peer said last, its goodbye, may still lie unread. So a
/// write that fails says nothing, and a read that does so says that this was all.
pub(crate) struct Watched<S> {
    stream: S,
    life: Arc<Life>,
    /// What is left to write of a sign that was begun.
    sign: &'static [u8],
    /// A write had to wait: nothing of it went even into the buffer of TLS.
    is_full: bool,
    /// A flush had to wait.
    is_behind: bool,
    /// A write failed. What else is written goes nowhere.
    is_broken: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Watched<S>, Arc<Life>) {
        let life = Arc::new(Life {
            begin: Instant::now(),
            heard: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            is_due: AtomicBool::new(false),
        });
        let watched = Watched {
            stream,
            life: Arc::clone(&life),
            sign: &[],
            is_full: false,
            is_behind: false,
            is_broken: false,
        };
        (watched, life)
    }

    /// What became of a write of `len` bytes.
    fn wrote(&mut self, len: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let was_full = std::mem::replace(&mut self.is_full, written.is_pending());
        match ready!(written) {
            Err(error) if is_loss(&error) => {
                self.is_broken = true;
                Poll::Ready(Ok(len))
            }
            written => {
                if was_full {
                    self.life.hear();
                }
                if let Ok(n) = written {
                    self.life.written.fetch_add(n as u64, Ordering::Relaxed);
                }
                Poll::Ready(written)
            }
        }
    }
}

/// Whether the connection is gone, and nothing else is wrong with it.
fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes what is left of a sign. Nothing may come into the middle of it.
    fn poll_sign(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sign.is_empty() && !self.is_broken {
            let written = Pin::new(&mut self.stream).poll_write(cx, self.sign);
            match ready!(self.wrote(self.sign.len(), written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sign = &self.sign[n..],
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buf)) {
            Err(error) if is_loss(&error) => Poll::Ready(Ok(())),
            result => {
                let read = (buf.filled().len() - before) as u64;
                self.life.read.fetch_add(read, Ordering::Relaxed);
                self.life.hear();
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_sign(cx))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(buf.len(), written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // h2 flushes between two frames, never inside one.
        if self.sign.is_empty() && self.life.is_due.swap(false, Ordering::Relaxed) {
            self.sign = &SIGN;
        }
        ready!(self.poll_sign(cx))?;
        if self.is_broken {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let was_behind = std::mem::replace(&mut self.is_behind, flushed.is_pending());
        match ready!(flushed) {
            Err(error) if is_loss(&error) => {
                self.is_broken = true;
                Poll::Ready(Ok(()))
            }
            flushed => {
                if was_behind {
                    self.life.hear();
                }
                Poll::Ready(flushed)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sign(cx))?;
        match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
            Err(error) if is_loss(&error) => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_broken {
            return Poll::Ready(Ok(len));
        }
        ready!(self.poll_sign(cx))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(len, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
