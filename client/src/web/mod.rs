//! The local API and page (`--inspect`): for this user on this machine, and nobody else.
//!
//! A page in the developer's browser must not reach it (DNS rebinding, cross-site requests), nor
//! another user of the machine: unknown Hosts and foreign Origins are refused before anything
//! else, and whatever shows a request or changes something needs the token.

mod api;
mod door;

use crate::inspector::Inspector;
use crate::state::Running;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The usual address.
pub const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4040);

/// Tried when no address was asked for and the usual one is taken.
const TRIES: u16 = 100;

/// Binds the inspector: on `asked`, or on the first free port from 4040 on.
///
/// # Errors
///
/// When the address is taken, or not of this machine.
pub async fn bind(asked: Option<SocketAddr>) -> std::io::Result<TcpListener> {
    if let Some(address) = asked {
        return TcpListener::bind(address).await;
    }
    let mut failed = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for port in DEFAULT.port()..=DEFAULT.port() + TRIES {
        match TcpListener::bind((DEFAULT.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, inspector: Inspector, running: Arc<Running>) {
    let router: Router = door::guard(api::router(inspector, Arc::clone(&running)), &running)
        .layer(axum::extract::DefaultBodyLimit::max(1024 * 1024));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the local inspector stopped");
    }
}
