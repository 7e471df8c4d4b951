//! The relay's public sockets: bind, accept, TLS, and a choice by ALPN between senders and clients
//! that come over TCP. The accept loop never waits for a peer.

use crate::ingress::Ingress;
use crate::limits;
use crate::session::{Phase, Sessions};
use crate::shares::network;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

/// A TCP and a UDP socket on one port.
#[derive(Debug)]
pub struct Sockets {
    /// For senders, and for tunnels where UDP is blocked.
    pub tcp: TcpListener,
    /// For tunnels over QUIC.
    pub udp: UdpSocket,
}

impl Sockets {
    /// Binds both. With port 0 the kernel chooses one that is free for both.
    ///
    /// # Errors
    ///
    /// When the address is taken or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Sockets> {
        for _ in 0..16 {
            let tcp = tcp(address)?;
            let bound = tcp.local_addr()?;
            match udp(bound) {
                Ok(udp) => return Ok(Sockets { tcp, udp }),
                // The kernel gave a TCP port that is in use for UDP: ask for another.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    // A restart must not wait for the old process's closed connections.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Bytes the kernel may hold for the UDP socket. At 100 Mbit/s this is a third of a second; the
/// kernel may give less (net.core.rmem_max).
const UDP_BUFFER: usize = 4 * 1024 * 1024;

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        None,
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Less is slower, not wrong.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts senders until `stop` turns true, then lets those that are connected finish.
#[derive(Debug)]
pub struct Edge {
    /// What serves their requests.
    pub ingress: Arc<Ingress>,
    /// The public TLS configuration.
    pub tls: Arc<rustls::ServerConfig>,
    /// Shared by all listeners of a relay.
    pub crowd: Arc<Crowd>,
    /// What serves the clients that come over TCP.
    pub sessions: Arc<Sessions>,
    /// How the relay is ending.
    pub phase: watch::Receiver<Phase>,
}

/// Acknowledges the head of a first request at once. Senders that write head and body apart, with
/// Nagle's algorithm on (Python's `http.client`), hold the body back until then, and the kernel
/// would delay it: 41 ms a webhook without, 2 ms with.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge(stream: &TcpStream) {
    // Failing to makes it slower, not wrong.
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(true);
}

/// Other systems offer no way to ask for it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge(_stream: &TcpStream) {}

/// Whether a client is there and no sender.
fn is_tunnel(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(wire::ALPN)
}

impl Edge {
    /// The accept loop of one listener.
    pub async fn run(self, listener: tokio::net::TcpListener, mut stop: watch::Receiver<bool>) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut connections = JoinSet::new();
        let mut quiet = Quiet::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                // An IPv4 peer of an IPv6 socket comes as ::ffff:1.2.3.4 (RFC 4291, 2.5.5.2).
                Ok((stream, peer)) => (
                    stream,
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                ),
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before we took it. What
                    // stands goes on; trying again at once would only burn the CPU.
                    if quiet.may_speak() {
                        warn!(%error, "accept failed");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = self.crowd.enter(peer.ip()) else {
                if quiet.may_speak() {
                    warn!(%peer, "connection refused: too many");
                }
                continue;
            };
            let _ = stream.set_nodelay(true);
            // A sender that vanished without a word is noticed, whatever it left open.
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(limits::KEEP_ALIVE)
                .with_interval(limits::KEEP_ALIVE);
            let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
            let acceptor = acceptor.clone();
            let ingress = Arc::clone(&self.ingress);
            let sessions = Arc::clone(&self.sessions);
            let (stop, phase) = (stop.clone(), self.phase.clone());
            connections.spawn(async move {
                let _place = place;
                let handshake = acceptor.accept(stream);
                match tokio::time::timeout(limits::TLS_HANDSHAKE, handshake).await {
                    Ok(Ok(stream)) if is_tunnel(&stream) => {
                        sessions.attach(stream, peer, phase).await;
                    }
                    Ok(Ok(stream)) => {
                        acknowledge(stream.get_ref().0);
                        ingress.serve(stream, peer, stop).await;
                    }
                    Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => debug!(%peer, "TLS handshake too slow"),
                }
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// At most one line a second.
#[derive(Debug, Default)]
struct Quiet(Option<std::time::Instant>);

impl Quiet {
    fn may_speak(&mut self) -> bool {
        let now = std::time::Instant::now();
        let may = self
            .0
            .is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1));
        if may {
            self.0 = Some(now);
        }
        may
    }
}

/// Counts public connections, in all and by address.
#[derive(Debug)]
pub struct Crowd {
    all: Arc<Semaphore>,
    // A lock and not a task: held for one addition.
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd {
            all: Arc::new(Semaphore::new(limits::CONNECTIONS)),
            by_address: Mutex::default(),
        }
    }
}

impl Crowd {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_insert(0);
        if *count >= limits::CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: Arc::clone(self),
            address,
            _permit: permit,
        })
    }
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self
            .crowd
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
