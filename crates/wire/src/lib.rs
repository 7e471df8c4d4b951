//! What client and relay say to each other, as bytes. No I/O, no clock.
//!
//! `PROTOCOL.md` beside this crate tells it for people; the modules here are its text in Rust:
//! [`codec`] (integers, strings, frames), [`message`] (the control stream), [`exchange`] (one
//! request and its answer), [`close`] (why a session ends).

pub mod close;
pub mod codec;
pub mod exchange;
pub mod message;
mod name;

pub use codec::{Error, Frame, FrameDecoder};
pub use exchange::{
    Abort, Fields, Framing, Informational, Length, Place, Preface, RequestHead, RequestId,
    ResponseHead, Scheme, Side, Version,
};
pub use message::{
    Bind, BindRefused, Bound, Drain, Hello, Message, Refused, RefusedReason, Welcome,
};
pub use name::{EndpointName, NameError};

/// The ALPN protocol of a tunnel, in TLS over QUIC and over TCP.
pub const ALPN: &[u8] = b"adit/1";

/// The versions this build speaks, lowest and highest.
pub const VERSIONS: (u8, u8) = (1, 1);

/// What a client signs with its key to prove that it holds it: this label, then the exporter.
pub const PROOF_LABEL: &[u8] = b"adit/1 client key proof";

/// The label under which both sides export 32 bytes from their TLS session (RFC 8446, 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-adit-1-client-key";
