//! The control stream: who the client is, which names lead to it, when the relay goes away.

use crate::codec::{Error, Reader, framed, kind, put_bytes, put_varint};
use bytes::{BufMut, BytesMut};

/// A message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client to relay, first: who I am.
    Hello(Hello),
    /// Relay to client: you are in.
    Welcome(Welcome),
    /// Relay to client: you are not; the session closes.
    Refused(Refused),
    /// Client to relay: lead this name to me.
    Bind(Bind),
    /// Relay to client: it does now.
    Bound(Bound),
    /// Relay to client: it does not; the session goes on.
    BindRefused(BindRefused),
    /// Relay to client: going away; dial again, what runs may finish.
    Drain(Drain),
}

/// Who the client is.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Lowest and highest version the client speaks.
    pub versions: (u8, u8),
    /// The client's Ed25519 public key (RFC 8032): it owns the names.
    pub key: [u8; 32],
    /// The key's signature over [`crate::PROOF_LABEL`] and the TLS exporter of this connection.
    pub proof: [u8; 64],
    /// The token; empty when the client has none.
    pub token: String,
    /// Program and version, for logs: `adit-client/0.1.0`.
    pub agent: String,
}

/// Shows everything but the token.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &self.versions)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// The relay's answer to a client it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u8,
    /// Grows with every session of this relay: of two sessions of one client, the higher one is
    /// newer and wins.
    pub session: u64,
    /// Program and version of the relay, for logs.
    pub agent: String,
}

/// Why a client was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kind of refusal.
    pub reason: RefusedReason,
    /// One sentence for the person at the client.
    pub message: String,
    /// Milliseconds to wait before another try; 0 when trying again makes no sense.
    pub retry_after_ms: u64,
}

/// The kinds of refusal. The number is what travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// No token came and this relay asks for one.
    TokenMissing,
    /// The token is not known here.
    TokenUnknown,
    /// The token was revoked.
    TokenRevoked,
    /// The token's time is over.
    TokenExpired,
    /// The signature over the exporter is not the key's.
    BadProof,
    /// No version in common.
    Version,
    /// Too many sessions; try later.
    Busy,
    /// The name is leased to another key.
    NameTaken,
    /// The token does not allow this name.
    NameNotAllowed,
    /// The token's limit of tunnels is reached.
    TooManyTunnels,
    /// The text cannot be a name.
    NameInvalid,
    /// A number this build does not know.
    Other(u8),
}

impl RefusedReason {
    const KNOWN: [(u8, RefusedReason); 11] = [
        (1, RefusedReason::TokenMissing),
        (2, RefusedReason::TokenUnknown),
        (3, RefusedReason::TokenRevoked),
        (4, RefusedReason::TokenExpired),
        (5, RefusedReason::BadProof),
        (6, RefusedReason::Version),
        (7, RefusedReason::Busy),
        (8, RefusedReason::NameTaken),
        (9, RefusedReason::NameNotAllowed),
        (10, RefusedReason::TooManyTunnels),
        (11, RefusedReason::NameInvalid),
    ];

    fn to_byte(self) -> u8 {
        if let RefusedReason::Other(byte) = self {
            return byte;
        }
        RefusedReason::KNOWN
            .iter()
            .find(|(_, reason)| *reason == self)
            .map_or(0, |(byte, _)| *byte)
    }

    fn from_byte(byte: u8) -> RefusedReason {
        RefusedReason::KNOWN
            .iter()
            .find(|(known, _)| *known == byte)
            .map_or(RefusedReason::Other(byte), |(_, reason)| *reason)
    }
}

/// Asks for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Chosen by the client; the answer repeats it.
    pub id: u32,
    /// The wanted name; empty for any.
    pub name: String,
    /// The client's own session that this one takes over from, by [`Welcome::session`]; 0 for
    /// none. The relay leaves that session open, and the client lets what runs there finish.
    pub replaces: u64,
}

/// The name leads to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Of the Bind.
    pub id: u32,
    /// The name.
    pub name: String,
    /// The public URL, without a final slash: `https://brave-otter.example.dev`.
    pub url: String,
}

/// The name does not lead to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindRefused {
    /// Of the Bind.
    pub id: u32,
    /// The kind of refusal.
    pub reason: RefusedReason,
    /// One sentence for the person at the client: who holds it and until when.
    pub message: String,
}

/// The relay is going away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Milliseconds that exchanges in flight have to finish.
    pub grace_ms: u64,
}

impl Message {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Message::Hello(m) => framed(out, kind::HELLO, |w| {
                w.put_u8(m.versions.0);
                w.put_u8(m.versions.1);
                w.put_slice(&m.key);
                w.put_slice(&m.proof);
                put_bytes(m.token.as_bytes(), w);
                put_bytes(m.agent.as_bytes(), w);
            }),
            Message::Welcome(m) => framed(out, kind::WELCOME, |w| {
                w.put_u8(m.version);
                put_varint(m.session, w);
                put_bytes(m.agent.as_bytes(), w);
            }),
            Message::Refused(m) => framed(out, kind::REFUSED, |w| {
                w.put_u8(m.reason.to_byte());
                put_bytes(m.message.as_bytes(), w);
                put_varint(m.retry_after_ms, w);
            }),
            Message::Bind(m) => framed(out, kind::BIND, |w| {
                put_varint(m.id.into(), w);
                put_bytes(m.name.as_bytes(), w);
                put_varint(m.replaces, w);
            }),
            Message::Bound(m) => framed(out, kind::BOUND, |w| {
                put_varint(m.id.into(), w);
                put_bytes(m.name.as_bytes(), w);
                put_bytes(m.url.as_bytes(), w);
            }),
            Message::BindRefused(m) => framed(out, kind::BIND_REFUSED, |w| {
                put_varint(m.id.into(), w);
                w.put_u8(m.reason.to_byte());
                put_bytes(m.message.as_bytes(), w);
            }),
            Message::Drain(m) => framed(out, kind::DRAIN, |w| put_varint(m.grace_ms, w)),
        }
    }

    pub(crate) fn take(kind: u8, r: &mut Reader) -> Result<Message, Error> {
        Ok(match kind {
            kind::HELLO => Message::Hello(Hello {
                versions: (r.byte()?, r.byte()?),
                key: r.array()?,
                proof: r.array()?,
                token: r.text("token")?,
                agent: r.text("agent")?,
            }),
            kind::WELCOME => Message::Welcome(Welcome {
                version: r.byte()?,
                session: r.varint()?,
                agent: r.text("agent")?,
            }),
            kind::REFUSED => Message::Refused(Refused {
                reason: RefusedReason::from_byte(r.byte()?),
                message: r.text("message")?,
                retry_after_ms: r.varint()?,
            }),
            kind::BIND => Message::Bind(Bind {
                id: r.u32("id")?,
                name: r.text("name")?,
                replaces: r.varint()?,
            }),
            kind::BOUND => Message::Bound(Bound {
                id: r.u32("id")?,
                name: r.text("name")?,
                url: r.text("url")?,
            }),
            kind::BIND_REFUSED => Message::BindRefused(BindRefused {
                id: r.u32("id")?,
                reason: RefusedReason::from_byte(r.byte()?),
                message: r.text("message")?,
            }),
            kind::DRAIN => Message::Drain(Drain {
                grace_ms: r.varint()?,
            }),
            other => return Err(Error::Unknown(other)),
        })
    }
}
