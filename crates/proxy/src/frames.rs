//! Frames over a stream: what the relay and the client read and write.

use bytes::{Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::{Frame, FrameDecoder};

/// Bytes read from a stream at once.
const READ: usize = 64 * 1024;

/// Bytes read at once until that was too little. Most exchanges are a head and a few kilobytes, and
/// a buffer of 64 KiB for each costs more than reading twice.
const FIRST_READ: usize = 4 * 1024;

/// Body chunks up to this size are copied behind their frame header, to leave in one write with
/// what is around them; larger ones are written from where they are.
const COPY: usize = 16 * 1024;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream was reset, or its session is over.
    #[error("the stream was lost")]
    Lost(#[source] io::Error),
    /// The stream ended where a frame was due.
    #[error("the stream ended early")]
    Ended,
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] wire::Error),
    /// A frame that does not belong here.
    #[error("unexpected frame")]
    Unexpected,
}

/// Reads frames from `R`.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    buf: BytesMut,
    decoder: FrameDecoder,
    /// Bytes to read at once.
    read: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Nothing is read yet.
    pub fn new(io: R) -> FrameReader<R> {
        FrameReader {
            io,
            buf: BytesMut::new(),
            decoder: FrameDecoder::default(),
            read: FIRST_READ,
        }
    }

    /// The next frame. May be cancelled and called again; nothing is lost.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no use afterwards.
    pub async fn next(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buf)? {
                return Ok(frame);
            }
            self.buf.reserve(self.read);
            match self.io.read_buf(&mut self.buf).await {
                Ok(0) => return Err(FrameError::Ended),
                Ok(n) if n >= self.read => self.read = READ,
                Ok(_) => {}
                Err(error) => return Err(FrameError::Lost(error)),
            }
        }
    }

    /// The next frame if it has arrived already, without waiting.
    ///
    /// # Errors
    ///
    /// [`FrameError::Protocol`].
    pub fn ready(&mut self) -> Result<Option<Frame>, FrameError> {
        Ok(self.decoder.next(&mut self.buf)?)
    }

    /// The stream below and the bytes already read from it, once the exchange turns into raw
    /// bytes.
    pub fn raw(&mut self) -> (&mut R, BytesMut) {
        (&mut self.io, self.buf.split())
    }
}

/// Writes frames to `W`.
#[derive(Debug)]
pub struct FrameWriter<W> {
    io: W,
    buf: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Nothing is written yet.
    pub fn new(io: W) -> FrameWriter<W> {
        FrameWriter {
            io,
            buf: BytesMut::new(),
        }
    }

    /// Puts a frame into the buffer; it leaves with the next [`FrameWriter::flush`] or
    /// [`FrameWriter::data`].
    pub fn put(&mut self, frame: &Frame) {
        frame.encode(&mut self.buf);
    }

    /// Takes body bytes: a few are put into the buffer, to leave with what follows; many are sent
    /// at once, behind all that was put before.
    ///
    /// # Errors
    ///
    /// When the peer has lost interest or the session is over.
    pub async fn data(&mut self, bytes: &Bytes) -> io::Result<()> {
        wire::codec::data_header(bytes.len(), &mut self.buf);
        if bytes.len() <= COPY {
            self.buf.extend_from_slice(bytes);
            return match self.buf.len() < READ {
                true => Ok(()),
                false => self.flush().await,
            };
        }
        self.flush().await?;
        self.io.write_all(bytes).await
    }

    /// Sends all that was put.
    ///
    /// # Errors
    ///
    /// When the peer has lost interest or the session is over.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let written = self.io.write_all(&self.buf).await;
        self.buf.clear();
        written
    }

    /// Puts a frame and sends all.
    ///
    /// # Errors
    ///
    /// As [`FrameWriter::flush`].
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.put(frame);
        self.flush().await
    }

    /// The stream below; what was put and not flushed is dropped.
    pub fn into_inner(self) -> W {
        self.io
    }

    /// The stream below.
    pub fn get_ref(&self) -> &W {
        &self.io
    }

    /// The stream below, once the exchange turns into raw bytes.
    pub fn raw(&mut self) -> &mut W {
        &mut self.io
    }
}
