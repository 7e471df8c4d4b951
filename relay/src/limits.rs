//! Every bound of the relay in one place: name, value, why, and what a peer sees when it is hit.

use std::time::Duration;

/// Public connections at once. One more is closed before its TLS handshake.
pub const CONNECTIONS: usize = 16_384;

/// Public connections of one address at once; a NAT of an office fits. One more is closed.
pub const CONNECTIONS_PER_ADDRESS: u32 = 1_024;

/// A silent public connection is probed after this, and then as often; the kernel gives it up
/// after some nine probes without an answer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// From TCP accept to the end of the TLS handshake. Then the connection is closed.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// From the handshake to the first byte of a request. Then the connection is closed.
pub const FIRST_BYTE: Duration = Duration::from_secs(10);

/// From a head's first byte to its last. Then 408 `slow-sender`.
pub const HEAD: Duration = Duration::from_secs(15);

/// Between two requests of one connection. Then it is closed.
pub const IDLE: Duration = Duration::from_secs(60);

/// Between two pieces of a request's body. Then 408 `slow-sender`.
pub const BODY_PIECE: Duration = Duration::from_secs(60);

/// A sender that takes no byte of its answer for so long is gone.
pub const WRITE: Duration = Duration::from_secs(120);

/// Waiting for a free stream while a client has all of them in use. Then 429 `rate-limit`.
pub const STREAM_WAIT: Duration = Duration::from_secs(10);

/// Exchanges of one session that one sender's address may hold at once: half of
/// [`tunnel::windows::STREAMS`], so that a sender who never reads cannot take them all. One more
/// waits for [`STREAM_WAIT`].
pub const EXCHANGES_PER_ADDRESS: usize = tunnel::windows::STREAMS as usize / 2;

/// After an answer that came before the end of the request: how long, and how many bytes, the
/// rest is read away, so that the answer is not lost to a reset (RFC 9112, 9.6).
pub const LINGER: Duration = Duration::from_secs(2);

/// See [`LINGER`].
pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// How long what came of an answer may still leave over HTTP/2 before the rest is known as cut.
pub const BEFORE_CUT: Duration = Duration::from_millis(100);

/// Requests of one HTTP/2 connection at once, as its SETTINGS say.
pub const H2_STREAMS: u32 = 256;

/// A stream's credit towards an HTTP/2 sender; times [`H2_STREAMS`] it stays at or under
/// [`H2_CONNECTION_WINDOW`], so that one stalled upload does not stop the others.
pub const H2_STREAM_WINDOW: u32 = 256 * 1024;

/// A connection's credit towards an HTTP/2 sender.
pub const H2_CONNECTION_WINDOW: u32 = H2_STREAMS * H2_STREAM_WINDOW;

/// Resets that an HTTP/2 peer may cause before its connection is closed (CVE-2023-44487).
pub const H2_RESETS: usize = 64;

/// Tunnel handshakes at once, before anything is known of the peer. One more is refused.
pub const HANDSHAKES: usize = 256;

/// Of these, handshakes of one address. One more is refused; its client tries again later.
pub const HANDSHAKES_PER_ADDRESS: usize = HANDSHAKES / 4;

/// How often names whose lease is over are forgotten. Until then they answer 503 and not 404.
pub const FORGET: Duration = Duration::from_secs(3600);

/// Sessions at once. One more is refused with `busy`.
pub const SESSIONS: usize = 10_000;

/// Names of one session at once.
pub const NAMES_PER_SESSION: usize = 64;

/// How long a name stays its owner's after the last session that used it.
pub const LEASE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the leases of an attached client's names are renewed: far within [`LEASE`], so that
/// nobody takes a name whose owner has been here all the time.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(3600);

/// Names leased to one client key. One more takes the place of the longest unused.
pub const NAMES_PER_KEY: usize = 256;

/// How often a session's token is looked up again, so that a revoked one ends it.
pub const TOKEN_CHECK: Duration = Duration::from_secs(3);

/// Files that a process may have open, where the system sets no bound of its own (macOS says
/// "unlimited" and means 10,240).
const FILES: u64 = 10_240;

/// Lets this process open as many files as the system allows: each connection is one, and the
/// usual soft limit is 1,024, on macOS 256. Where that fails the limit stays, and connections
/// beyond it wait.
pub fn raise_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.unwrap_or(FILES);
        if limit.current.is_some_and(|current| current < wanted) {
            let raised = Rlimit {
                current: Some(wanted),
                ..limit
            };
            if setrlimit(Resource::Nofile, raised).is_err() {
                tracing::debug!("the limit of open files was not raised");
            }
        }
    }
}
