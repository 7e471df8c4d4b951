//! One request and its answer, as frames.
//!
//! ```text
//! relay ─► client   Preface  Request  Data*  [Trailers]  End
//! client ─► relay   Informational*  Response  Data*  [Trailers]  End
//! either, any time  Abort
//! ```
//!
//! Heads carry fields as they came: order, spelling, repeats, raw bytes. Content-Length and
//! Transfer-Encoding are not among them: how long a body is travels as [`Framing`], and where the
//! field stood and how it was spelled as its [`Place`], so that whoever writes HTTP again can
//! write the field anew where it was and nothing can be smuggled in it.

use crate::codec::{Error, Reader, put_bytes, put_fields, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// Header or trailer fields: order, spelling and repeats as they came; raw bytes.
pub type Fields = Vec<(Bytes, Bytes)>;

/// Names one request through relay, client, store and app: 16 characters of Crockford's base32 in
/// lower case. The first ten are the time of arrival in milliseconds, so ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// The id of a request that arrived at `unix_ms`; 30 bits of `chance` tell apart what came in
    /// the same millisecond.
    pub fn new(unix_ms: u64, chance: u32) -> RequestId {
        let bits = u128::from(unix_ms & 0x3_ffff_ffff_ffff) << 30 | u128::from(chance >> 2);
        let mut text = [0; 16];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = Self::ALPHABET[(bits >> (75 - 5 * i) & 31) as usize];
        }
        RequestId(text)
    }

    /// The 16 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the sender reached the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// The HTTP version at the public side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

/// What the relay knows of a request and HTTP does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preface {
    /// The request's id.
    pub request: RequestId,
    /// The name it came to.
    pub endpoint: String,
    /// The sender's address and port, as text.
    pub remote: String,
    /// How the sender reached the relay.
    pub scheme: Scheme,
    /// The authority the sender addressed: host, and port where it named one.
    pub authority: String,
    /// Microseconds since the Unix epoch when the head had arrived.
    pub arrived_us: u64,
    /// The HTTP version the sender spoke.
    pub version: Version,
}

impl Preface {
    pub(crate) fn put(&self, w: &mut BytesMut) {
        w.put_slice(&self.request.0);
        put_bytes(self.endpoint.as_bytes(), w);
        put_bytes(self.remote.as_bytes(), w);
        w.put_u8(match self.scheme {
            Scheme::Http => 0,
            Scheme::Https => 1,
        });
        put_bytes(self.authority.as_bytes(), w);
        put_varint(self.arrived_us, w);
        w.put_u8(match self.version {
            Version::Http10 => 10,
            Version::Http11 => 11,
            Version::Http2 => 20,
        });
    }

    pub(crate) fn take(r: &mut Reader) -> Result<Preface, Error> {
        let id: [u8; 16] = r.array()?;
        if !id.iter().all(|b| RequestId::ALPHABET.contains(b)) {
            return Err(r.bad("request id"));
        }
        Ok(Preface {
            request: RequestId(id),
            endpoint: r.text("endpoint")?,
            remote: r.text("remote")?,
            scheme: match r.byte()? {
                0 => Scheme::Http,
                1 => Scheme::Https,
                _ => return Err(r.bad("scheme")),
            },
            authority: r.text("authority")?,
            arrived_us: r.varint()?,
            version: match r.byte()? {
                10 => Version::Http10,
                11 => Version::Http11,
                20 => Version::Http2,
                _ => return Err(r.bad("version")),
            },
        })
    }
}

/// How long a body is, as its head said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is no body: End follows the head.
    Empty,
    /// So many bytes. In the answer to HEAD, and in a 304, what the body would have had.
    Known(u64),
    /// Known only at its end: chunked, HTTP/2 without Content-Length, or until the connection
    /// closes.
    Unknown,
}

/// Where a framing field stood among the fields, and how its name was spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many of the fields stood before it.
    pub index: usize,
    /// Its name as spelled: `Content-Length` or `Transfer-Encoding` in any case.
    pub name: Bytes,
}

/// The length of a body and where the field that said so stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// How long.
    pub length: Length,
    /// The field's place; `None` when there was no such field.
    pub place: Option<Place>,
}

impl Framing {
    /// No body and no field that says so.
    pub fn empty() -> Framing {
        Framing {
            length: Length::Empty,
            place: None,
        }
    }

    fn put(&self, w: &mut BytesMut) {
        match self.length {
            Length::Empty => w.put_u8(0),
            Length::Known(n) => {
                w.put_u8(1);
                put_varint(n, w);
            }
            Length::Unknown => w.put_u8(2),
        }
        match &self.place {
            None => w.put_u8(0),
            Some(place) => {
                w.put_u8(1);
                put_varint(place.index as u64, w);
                put_bytes(&place.name, w);
            }
        }
    }

    fn take(r: &mut Reader) -> Result<Framing, Error> {
        let length = match r.byte()? {
            0 => Length::Empty,
            1 => Length::Known(r.varint()?),
            2 => Length::Unknown,
            _ => return Err(r.bad("length")),
        };
        let place = match r.byte()? {
            0 => None,
            1 => {
                let index = usize::try_from(r.varint()?).map_err(|_| r.bad("place"))?;
                let name = r.bytes()?;
                if !name.eq_ignore_ascii_case(b"content-length")
                    && !name.eq_ignore_ascii_case(b"transfer-encoding")
                {
                    return Err(r.bad("place"));
                }
                Some(Place { index, name })
            }
            _ => return Err(r.bad("place")),
        };
        Ok(Framing { length, place })
    }
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, as sent.
    pub method: Bytes,
    /// The target, as sent: origin-form, or `*`.
    pub target: Bytes,
    /// The fields but Content-Length and Transfer-Encoding.
    pub fields: Fields,
    /// The body's length.
    pub framing: Framing,
}

impl RequestHead {
    pub(crate) fn put(&self, w: &mut BytesMut) {
        put_bytes(&self.method, w);
        put_bytes(&self.target, w);
        put_fields(&self.fields, w);
        self.framing.put(w);
    }

    pub(crate) fn take(r: &mut Reader) -> Result<RequestHead, Error> {
        Ok(RequestHead {
            method: r.bytes()?,
            target: r.bytes()?,
            fields: r.fields()?,
            framing: Framing::take(r)?,
        })
    }
}

/// A 1xx head, forwarded as it came (RFC 9110, 15.2). 101 turns the stream into raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Informational {
    /// 100 to 199.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
}

impl Informational {
    pub(crate) fn put(&self, w: &mut BytesMut) {
        put_varint(self.status.into(), w);
        put_fields(&self.fields, w);
    }

    pub(crate) fn take(r: &mut Reader) -> Result<Informational, Error> {
        let status = r.u16("status")?;
        if !(100..200).contains(&status) {
            return Err(r.bad("status"));
        }
        Ok(Informational {
            status,
            fields: r.fields()?,
        })
    }
}

/// An answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 200 to 999.
    pub status: u16,
    /// The reason phrase, as sent.
    pub reason: Bytes,
    /// The fields but Content-Length and Transfer-Encoding.
    pub fields: Fields,
    /// The body's length.
    pub framing: Framing,
}

impl ResponseHead {
    pub(crate) fn put(&self, w: &mut BytesMut) {
        put_varint(self.status.into(), w);
        put_bytes(&self.reason, w);
        put_fields(&self.fields, w);
        self.framing.put(w);
    }

    pub(crate) fn take(r: &mut Reader) -> Result<ResponseHead, Error> {
        let status = r.u16("status")?;
        if !(200..1000).contains(&status) {
            return Err(r.bad("status"));
        }
        Ok(ResponseHead {
            status,
            reason: r.bytes()?,
            fields: r.fields()?,
            framing: Framing::take(r)?,
        })
    }
}

/// Whose doing a failure was, seen from the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender: it went away or broke the rules.
    Sender,
    /// The app: absent, silent, or not speaking HTTP.
    App,
    /// Us.
    Adit,
}

/// The exchange cannot go on. Before the answer's head, the relay answers with the status that
/// belongs to `cause`; after it, the answer is cut so that the sender sees a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Whose doing it was.
    pub side: Side,
    /// The word of `Adit-Cause`, such as `app-refused`.
    pub cause: String,
    /// One sentence for a person.
    pub message: String,
}

impl Abort {
    pub(crate) fn put(&self, w: &mut BytesMut) {
        w.put_u8(match self.side {
            Side::Sender => 0,
            Side::App => 1,
            Side::Adit => 2,
        });
        put_bytes(self.cause.as_bytes(), w);
        put_bytes(self.message.as_bytes(), w);
    }

    pub(crate) fn take(r: &mut Reader) -> Result<Abort, Error> {
        Ok(Abort {
            side: match r.byte()? {
                0 => Side::Sender,
                1 => Side::App,
                2 => Side::Adit,
                _ => return Err(r.bad("side")),
            },
            cause: r.text("cause")?,
            message: r.text("message")?,
        })
    }
}
