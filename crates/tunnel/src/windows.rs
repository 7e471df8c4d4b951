//! Every flow-control and liveness number of a session, with its reason.

use quinn::congestion::BbrConfig;
use quinn::{IdleTimeout, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that one stream may have on the way unread. 1 MiB keeps a path of 50 ms at 160 Mbit/s
/// busy.
pub const STREAM: u32 = 1024 * 1024;

/// Exchanges of one session at once. One more waits at the relay until one of them ends.
pub const STREAMS: u32 = 256;

/// Bytes that all streams of a session may have on the way unread: [`STREAMS`] × [`STREAM`], so
/// that stalled readers, however many, never use up what the others need. With a smaller product
/// a few stalled streams freeze the session. Memory is used only for what is really unread.
pub const SESSION: u32 = STREAMS * STREAM;

/// Bytes a peer may send before it has said who it is: room for one Hello.
pub const UNKNOWN_PEER: u32 = 16 * 1024;

/// How often a side that says nothing shows that it is there: over QUIC the client, over TCP both.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// After so long without a packet the peer is gone: three keep-alives lost.
pub const DEAD_PEER: Duration = Duration::from_secs(6);

/// How long the relay waits for a Hello, and the client for its answer.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long QUIC is waited for before TCP is dialled beside it: two round trips of a path around
/// the world, and nobody notices the wait where UDP is blocked.
pub const HEAD_START: Duration = Duration::from_millis(300);

fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    // At 50 ms and 1 % loss quinn's default (CUBIC) carried 209 small requests a second and
    // 0.3 MB/s of bulk, BBR 1,232 and 11 on the same link.
    config
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .stream_receive_window(VarInt::from_u32(STREAM))
        .send_window(u64::from(SESSION))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(
            DEAD_PEER.as_millis() as u32,
        ))));
    config
}

/// The client opens one stream, control, and accepts [`STREAMS`].
pub(crate) fn client() -> TransportConfig {
    let mut config = common();
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .receive_window(VarInt::from_u32(SESSION))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS));
    config
}

/// The relay accepts one stream, control, and gives little credit until it knows the peer; see
/// [`crate::Session::trust`].
pub(crate) fn relay() -> TransportConfig {
    let mut config = common();
    config
        .receive_window(VarInt::from_u32(UNKNOWN_PEER))
        .max_concurrent_bidi_streams(VarInt::from_u32(1));
    config
}
