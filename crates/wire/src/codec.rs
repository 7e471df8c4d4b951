//! Integers, strings and frames as bytes.
//!
//! A frame is `type (1 byte) | length (varint) | payload`. Integers are QUIC's variable-length
//! integers (RFC 9000, section 16). Strings are a length and their bytes. A payload may be longer
//! than what its reader knows: newer fields come last, and older readers skip them. A frame type
//! with bit [`IGNORABLE`] set is skipped by who does not know it; any other unknown type is an
//! error.

use crate::exchange::{Abort, Fields, Informational, Preface, RequestHead, ResponseHead};
use crate::message::Message;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Frame types with this bit may be skipped by a reader that does not know them.
pub const IGNORABLE: u8 = 0x40;

/// The longest payload of any frame but Data, in bytes: twice the 64 KiB that the ingress allows
/// a request head, so that a response head with long cookies passes too.
pub const MAX_PAYLOAD: usize = 128 * 1024;

/// The longest payload of a Data frame. Its bytes are handed on as they come, never collected.
pub const MAX_DATA: u64 = 16 * 1024 * 1024;

/// The most fields in one head or trailer section.
pub const MAX_FIELDS: usize = 512;

/// The largest integer that travels: 62 bits (RFC 9000, section 16). A larger one is written as
/// this one. Cut to its low bits it would pass for a small one, and whoever writes a body's length
/// again would let the rest of the body through as another request.
pub const MAX_VARINT: u64 = u64::MAX >> 2;

/// What a peer sent that is not the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A payload ended inside a field.
    #[error("frame {0:#04x} ends inside a field")]
    Short(u8),
    /// A payload or count over its limit.
    #[error("frame {0:#04x} is over its limit")]
    TooLong(u8),
    /// A type that is not known and not ignorable.
    #[error("unknown frame {0:#04x}")]
    Unknown(u8),
    /// A field with a value it cannot have.
    #[error("frame {0:#04x} has a bad {1}")]
    Value(u8, &'static str),
}

/// One frame, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the control stream.
    Message(Message),
    /// What the relay knows of a request and HTTP does not say.
    Preface(Preface),
    /// The request's head.
    Request(RequestHead),
    /// A 1xx head from the app.
    Informational(Informational),
    /// The answer's head.
    Response(ResponseHead),
    /// Some bytes of a body. One Data frame may be decoded into several of these.
    Data(Bytes),
    /// Trailer fields.
    Trailers(Fields),
    /// The body came to its end.
    End,
    /// The exchange cannot go on.
    Abort(Abort),
}

pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const WELCOME: u8 = 0x02;
    pub(crate) const REFUSED: u8 = 0x03;
    pub(crate) const BIND: u8 = 0x04;
    pub(crate) const BOUND: u8 = 0x05;
    pub(crate) const BIND_REFUSED: u8 = 0x06;
    pub(crate) const DRAIN: u8 = 0x07;
    pub(crate) const PREFACE: u8 = 0x10;
    pub(crate) const REQUEST: u8 = 0x11;
    pub(crate) const INFORMATIONAL: u8 = 0x12;
    pub(crate) const RESPONSE: u8 = 0x13;
    pub(crate) const DATA: u8 = 0x14;
    pub(crate) const TRAILERS: u8 = 0x15;
    pub(crate) const END: u8 = 0x16;
    pub(crate) const ABORT: u8 = 0x17;
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Frame::Message(message) => message.encode(out),
            Frame::Preface(preface) => framed(out, kind::PREFACE, |w| preface.put(w)),
            Frame::Request(head) => framed(out, kind::REQUEST, |w| head.put(w)),
            Frame::Informational(head) => framed(out, kind::INFORMATIONAL, |w| head.put(w)),
            Frame::Response(head) => framed(out, kind::RESPONSE, |w| head.put(w)),
            Frame::Data(bytes) => {
                data_header(bytes.len(), out);
                out.put_slice(bytes);
            }
            Frame::Trailers(fields) => framed(out, kind::TRAILERS, |w| put_fields(fields, w)),
            Frame::End => framed(out, kind::END, |_| {}),
            Frame::Abort(abort) => framed(out, kind::ABORT, |w| abort.put(w)),
        }
    }
}

/// Appends the header of a Data frame of `len` bytes; the bytes themselves follow it on the
/// stream, so that large bodies need no copy.
pub fn data_header(len: usize, out: &mut BytesMut) {
    out.put_u8(kind::DATA);
    put_varint(len as u64, out);
}

/// Turns a stream's bytes into frames, one call at a time.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// Bytes of the current Data frame still to come.
    data: u64,
    /// Bytes of a skipped frame still to come.
    skip: u64,
}

impl FrameDecoder {
    /// Takes the next frame from the front of `buf`; `None` when more bytes are needed.
    ///
    /// Data is handed out as it comes, without waiting for the end of its frame. A non-empty
    /// `buf` after `None` is the start of a frame.
    ///
    /// # Errors
    ///
    /// [`Error`] when the bytes are not the protocol; the stream is of no use afterwards.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, Error> {
        loop {
            if self.skip > 0 {
                let n = self.skip.min(buf.len() as u64);
                buf.advance(usize::try_from(n).unwrap_or(usize::MAX));
                self.skip -= n;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if self.data > 0 {
                if buf.is_empty() {
                    return Ok(None);
                }
                let n = usize::try_from(self.data)
                    .unwrap_or(usize::MAX)
                    .min(buf.len());
                self.data -= n as u64;
                return Ok(Some(Frame::Data(buf.split_to(n).freeze())));
            }
            let Some(&kind) = buf.first() else {
                return Ok(None);
            };
            let mut rest = &buf[1..];
            let Some(len) = peek_varint(&mut rest) else {
                return Ok(None);
            };
            let header = buf.len() - rest.len();
            if kind == kind::DATA {
                if len > MAX_DATA {
                    return Err(Error::TooLong(kind));
                }
                buf.advance(header);
                self.data = len;
                continue;
            }
            if len > MAX_PAYLOAD as u64 {
                return Err(Error::TooLong(kind));
            }
            if kind & IGNORABLE != 0 {
                buf.advance(header);
                self.skip = len;
                continue;
            }
            if !(kind::HELLO..=kind::DRAIN).contains(&kind)
                && !(kind::PREFACE..=kind::ABORT).contains(&kind)
            {
                return Err(Error::Unknown(kind));
            }
            if (rest.len() as u64) < len {
                return Ok(None);
            }
            buf.advance(header);
            let payload = buf.split_to(usize::try_from(len).unwrap_or(usize::MAX));
            return decode(kind, payload.freeze()).map(Some);
        }
    }

    /// Whether the stream may end here: between two frames, with nothing left in `buf`.
    pub fn is_between_frames(&self, buf: &BytesMut) -> bool {
        self.data == 0 && self.skip == 0 && buf.is_empty()
    }

    /// Whether the rest of a Data frame is still to come.
    pub fn is_inside_data(&self) -> bool {
        self.data > 0
    }
}

fn decode(kind: u8, payload: Bytes) -> Result<Frame, Error> {
    let mut r = Reader { kind, payload };
    Ok(match kind {
        kind::PREFACE => Frame::Preface(Preface::take(&mut r)?),
        kind::REQUEST => Frame::Request(RequestHead::take(&mut r)?),
        kind::INFORMATIONAL => Frame::Informational(Informational::take(&mut r)?),
        kind::RESPONSE => Frame::Response(ResponseHead::take(&mut r)?),
        kind::TRAILERS => Frame::Trailers(r.fields()?),
        kind::END => Frame::End,
        kind::ABORT => Frame::Abort(Abort::take(&mut r)?),
        _ => Frame::Message(Message::take(kind, &mut r)?),
    })
}

/// Writes one frame: `fill` writes the payload, the length is put before it.
pub(crate) fn framed(out: &mut BytesMut, kind: u8, fill: impl FnOnce(&mut BytesMut)) {
    // The length comes first and is not known yet: leave room for its four-byte form, which
    // holds up to 2^30 - 1 and so every payload we write.
    out.put_u8(kind);
    let at = out.len();
    out.put_u32(0);
    fill(out);
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX >> 2);
    out[at..at + 4].copy_from_slice(&(len | 0x8000_0000).to_be_bytes());
}

pub(crate) fn put_varint(value: u64, out: &mut BytesMut) {
    let value = value.min(MAX_VARINT);
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

pub(crate) fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    put_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

pub(crate) fn put_fields(fields: &Fields, out: &mut BytesMut) {
    put_varint(fields.len() as u64, out);
    for (name, value) in fields {
        put_bytes(name, out);
        put_bytes(value, out);
    }
}

/// Takes a variable-length integer from the front of `bytes`; `None` when it is not whole.
fn peek_varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let (head, rest) = bytes.split_at_checked(len)?;
    let mut value = u64::from(first & 0x3f);
    for byte in &head[1..] {
        value = value << 8 | u64::from(*byte);
    }
    *bytes = rest;
    Some(value)
}

/// Reads the fields of one payload; every error names the frame.
pub(crate) struct Reader {
    kind: u8,
    payload: Bytes,
}

impl Reader {
    pub(crate) fn bad(&self, what: &'static str) -> Error {
        Error::Value(self.kind, what)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        if self.payload.is_empty() {
            return Err(Error::Short(self.kind));
        }
        Ok(self.payload.get_u8())
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut rest = &self.payload[..];
        let value = peek_varint(&mut rest).ok_or(Error::Short(self.kind))?;
        let used = self.payload.len() - rest.len();
        self.payload.advance(used);
        Ok(value)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        u32::try_from(self.varint()?).map_err(|_| self.bad(what))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        u16::try_from(self.varint()?).map_err(|_| self.bad(what))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Error> {
        let len = usize::try_from(self.varint()?).map_err(|_| Error::TooLong(self.kind))?;
        if len > self.payload.len() {
            return Err(Error::Short(self.kind));
        }
        Ok(self.payload.split_to(len))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        if self.payload.len() < N {
            return Err(Error::Short(self.kind));
        }
        let mut out = [0; N];
        self.payload.copy_to_slice(&mut out);
        Ok(out)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Error> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| self.bad(what))
    }

    pub(crate) fn fields(&mut self) -> Result<Fields, Error> {
        let count = self.varint()?;
        if count > MAX_FIELDS as u64 {
            return Err(Error::TooLong(self.kind));
        }
        let mut fields = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            fields.push((self.bytes()?, self.bytes()?));
        }
        Ok(fields)
    }
}
