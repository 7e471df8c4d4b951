//! A session between client and relay, and the streams in it: over QUIC, or over TLS over TCP
//! where UDP is blocked.
//!
//! ```text
//! client                                            relay
//! Dialer::dial ── UDP, TLS 1.3, ALPN adit/1 ──► Listener::accept, Incoming::establish
//!              ── TCP, TLS 1.3, ALPN adit/1 ──► Session::over_tcp
//! join          ── control: Hello, Welcome ──►  receive
//! Session::accept ◄── one stream per exchange ── Session::open
//! ```
//!
//! The transport is inside [`Session`] and [`Stream`]; nobody outside sees which one it is.

mod dial;
mod handshake;
mod keepalive;
mod listen;
mod session;
mod tcp;
pub mod windows;

pub use dial::{DialError, Dialer, Target, Transport};
pub use handshake::{Admission, ClientKey, Control, HandshakeError, join, receive};
pub use listen::{Incoming, Listener, ListenerSecrets};
pub use session::{Ended, RecvHalf, SendHalf, Session, Stream};
