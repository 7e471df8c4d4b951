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
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

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

/// Connections at once. A browser opens six and an event stream; one more waits.
const CONNECTIONS: usize = 64;

/// From a connection's first moment, or the end of an answer, to the end of the next head. Then it
/// is closed: this port must not eat the descriptors that deliveries need.
const HEAD: Duration = Duration::from_secs(30);

/// Serves until dropped.
pub async fn serve(listener: TcpListener, inspector: Inspector, running: Arc<Running>) {
    let router: Router = door::guard(api::router(inspector, Arc::clone(&running)), &running)
        .layer(axum::extract::DefaultBodyLimit::max(1024 * 1024));
    let service = TowerToHyperService::new(router);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(TokioIo::new(stream), service.clone());
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local inspector could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
