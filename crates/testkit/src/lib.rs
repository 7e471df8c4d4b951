//! A whole world in one process: sender, relay, link, client and app, for tests that tell a story.
//!
//! ```text
//! Sender ── TCP, TLS ──► Relay ◄── UDP, TCP ── Link ── UDP, TCP ── Client ── TCP ──► Origin
//! exact bytes                             hold, cut, delay                    exact bytes, as scripted
//! ```
//!
//! [`World`] puts them together. Relay and client each live in a [`process::Process`]: stopped in order, or
//! killed without a goodbye, and started again on the same ports and folders. Everything listens on
//! loopback, on ports that the kernel chose, and ends when it is dropped.
//!
//! Stories about the tunnel are told once and run over both its transports: see [`over_both`].
//!
//! Nothing here sleeps to wait: a test awaits an event, and [`soon`] fails it when none comes. HTTP
//! is read by a parser of its own: a fault in the product's must not hide itself.

mod client;
mod http;
mod link;
mod origin;
mod process;
mod program;
mod relay;
mod sender;
mod world;

pub use client::{Client, Home, Setup};
pub use http::{Answer, End, Fields, field, fields};
pub use link::{Direction, Link};
pub use origin::{Gate, Origin, Received, Script};
pub use program::{Ended, Program};
pub use relay::{RelayHouse, RelaySetup};
pub use sender::{Sender, Wire, cloudvno};
pub use world::World;

use std::time::Duration;

/// Makes two tests of each story, `quic::story` and `tcp::story`. A story is an async function that
/// takes a [`tunnel::Transport`].
#[macro_export]
macro_rules! over_both {
    ($($story:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $story() {
                super::$story(tunnel::Transport::Quic).await;
            })*
        }

        mod tcp {
            $(#[tokio::test]
            async fn $story() {
                super::$story(tunnel::Transport::Tcp).await;
            })*
        }
    };
}

/// How long a test waits for something that should happen at once or, where a dead peer has to be
/// noticed first, within some seconds. Generous: two slow cores share the whole suite.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
///
/// # Panics
///
/// After [`DEADLINE`], saying what did not happen.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, event).await {
        Ok(value) => value,
        Err(_) => panic!("not within {} s: {what}", DEADLINE.as_secs()),
    }
}
