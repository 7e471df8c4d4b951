//! Why a session or a stream ends: the code in QUIC's CONNECTION_CLOSE, RESET_STREAM and
//! STOP_SENDING (RFC 9000, sections 19.4, 19.5 and 19.19); over TCP, above [`HTTP2_BASE`], in
//! HTTP/2's GOAWAY and RST_STREAM.

/// Over TCP close codes travel as this and the code, above the codes of RFC 9113, section 7.
pub const HTTP2_BASE: u32 = 0x00ad_1700;

/// A close code. Unknown codes are kept as numbers, so that a newer peer can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close(pub u32);

impl Close {
    /// Ended on purpose; nothing is wrong.
    pub const DONE: Close = Close(0);
    /// The peer broke the protocol; the reason says which rule.
    pub const PROTOCOL: Close = Close(1);
    /// The relay refused the client; a Refused message said why before.
    pub const REFUSED: Close = Close(2);
    /// The relay is going away: dial again.
    pub const DRAINING: Close = Close(3);
    /// A newer session of the same client has taken over.
    pub const REPLACED: Close = Close(4);
    /// The token of this session was revoked or has expired.
    pub const REVOKED: Close = Close(5);
    /// The other side of the exchange went away.
    pub const CANCELLED: Close = Close(6);
    /// Our own fault.
    pub const INTERNAL: Close = Close(7);

    /// A word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Close::DONE => "done",
            Close::PROTOCOL => "protocol",
            Close::REFUSED => "refused",
            Close::DRAINING => "draining",
            Close::REPLACED => "replaced",
            Close::REVOKED => "revoked",
            Close::CANCELLED => "cancelled",
            Close::INTERNAL => "internal",
            _ => "unknown",
        }
    }
}
