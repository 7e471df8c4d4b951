//! The network between client and relay: UDP and TCP that can be held, delayed and cut.

use crate::process::Process;
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Packets under way in one direction. One more is lost, as in a router.
const QUEUE: usize = 4096;

/// The largest UDP payload.
const PACKET: usize = 65_535;

/// Bytes of a TCP connection that are carried at once.
const PIECE: usize = 64 * 1024;

/// The same where the link is slow.
const SLOW_PIECE: usize = 2 * 1024;

/// What the kernel may take in of a slow connection: as if it were on a long cable.
const SLOW_QUEUE: usize = 64 * 1024;

/// As on Ethernet. Loopback's 64 KiB do not fit into [`SLOW_QUEUE`].
const SEGMENT: u32 = 1400;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToRelay,
    /// From the relay.
    ToClient,
}

/// A way for packets between the clients that dial [`Link::address`] and one relay.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    to_relay: watch::Sender<Way>,
    to_client: watch::Sender<Way>,
    udp: watch::Sender<bool>,
    flows: Arc<Mutex<Flows>>,
    _process: Process,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    state: State,
    delay: Duration,
    /// Bytes a second of each TCP connection; 0 for as many as it takes.
    rate: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Held,
    Cut,
}

/// One socket towards the relay for each client address, as a NAT has them.
type Flows = HashMap<SocketAddr, Arc<UdpSocket>>;

/// A packet, when it may go on, and how.
struct Packet {
    due: Instant,
    bytes: Vec<u8>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
}

impl Link {
    /// An open link to `relay`.
    ///
    /// # Panics
    ///
    /// When no socket can be had.
    pub async fn to(relay: SocketAddr) -> Link {
        let process = Process::new("link");
        let open = Way {
            state: State::Open,
            delay: Duration::ZERO,
            rate: 0,
        };
        let (to_relay, up) = watch::channel(open);
        let (to_client, down) = watch::channel(open);
        let flows = Arc::new(Mutex::new(Flows::new()));
        let near = Arc::clone(&flows);
        let (udp, lets_udp) = watch::channel(true);
        let (listener, socket) = process.run(sockets()).await;
        let address = socket.local_addr().expect("a bound socket has an address");
        process
            .handle()
            .spawn(carry_tcp(listener, relay, up.clone(), down.clone()));
        process.handle().spawn(async move {
            let mut tasks = JoinSet::new();
            let (up_to, up_from) = mpsc::channel(QUEUE);
            let (down_to, down_from) = mpsc::channel(QUEUE);
            tasks.spawn(carry(up_from, up.clone()));
            tasks.spawn(carry(down_from, down.clone()));
            let mut buf = vec![0; PACKET];
            loop {
                let Ok((len, client)) = socket.recv_from(&mut buf).await else {
                    continue;
                };
                if !*lets_udp.borrow() {
                    continue;
                }
                let known = near.lock().expect("not poisoned").get(&client).cloned();
                let flow = match known {
                    Some(flow) => flow,
                    None => {
                        let flow = Arc::new(self::socket().await);
                        near.lock()
                            .expect("not poisoned")
                            .insert(client, Arc::clone(&flow));
                        tasks.spawn(back(
                            Arc::clone(&flow),
                            Arc::clone(&socket),
                            client,
                            down_to.clone(),
                            down.clone(),
                        ));
                        flow
                    }
                };
                offer(&up_to, &up, &buf[..len], flow, relay);
            }
        });
        Link {
            address,
            to_relay,
            to_client,
            udp,
            flows,
            _process: process,
        }
    }

    /// Where clients dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses every packet, those under way too. TCP sends again what was lost once the link is open:
    /// its bytes wait.
    pub fn cut(&self) {
        self.cut_one(Direction::ToRelay);
        self.cut_one(Direction::ToClient);
    }

    /// Loses every packet of one direction.
    pub fn cut_one(&self, direction: Direction) {
        self.way(direction)
            .send_modify(|way| way.state = State::Cut);
    }

    /// Keeps packets, in their order, until the link is open again; up to a bound, as a router.
    pub fn hold(&self) {
        self.to_relay.send_modify(|way| way.state = State::Held);
        self.to_client.send_modify(|way| way.state = State::Held);
    }

    /// Carries packets again, in both directions.
    pub fn open(&self) {
        self.to_relay.send_modify(|way| way.state = State::Open);
        self.to_client.send_modify(|way| way.state = State::Open);
    }

    /// Takes so long for a packet, each way.
    pub fn delay(&self, delay: Duration) {
        self.to_relay.send_modify(|way| way.delay = delay);
        self.to_client.send_modify(|way| way.delay = delay);
    }

    /// Lets no UDP through, as many a firewall; or lets it through again.
    pub fn let_udp_through(&self, lets: bool) {
        self.udp.send_replace(lets);
    }

    /// Carries no more than so many bytes a second of each TCP connection, each way. For
    /// connections to come.
    pub fn slow(&self, rate: u32) {
        self.to_relay.send_modify(|way| way.rate = rate);
        self.to_client.send_modify(|way| way.rate = rate);
    }

    /// Gives every client another address towards the relay, as when a laptop changes networks.
    pub fn change_addresses(&self) {
        self.flows.lock().expect("not poisoned").clear();
    }

    fn way(&self, direction: Direction) -> &watch::Sender<Way> {
        match direction {
            Direction::ToRelay => &self.to_relay,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// A TCP and a UDP socket on one port.
async fn sockets() -> (TcpListener, Arc<UdpSocket>) {
    loop {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let tcp = TcpListener::bind(any).await.expect("a socket on loopback");
        let address = tcp.local_addr().expect("a bound socket has an address");
        let _ = SockRef::from(&tcp).set_tcp_mss(SEGMENT);
        // The port may be in use for UDP.
        if let Ok(udp) = UdpSocket::bind(address).await {
            let _ = SockRef::from(&udp).set_recv_buffer_size(4 * 1024 * 1024);
            return (tcp, Arc::new(udp));
        }
    }
}

/// Accepts TCP connections for the relay and carries them.
async fn carry_tcp(
    listener: TcpListener,
    relay: SocketAddr,
    up: watch::Receiver<Way>,
    down: watch::Receiver<Way>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (up, down) = (up.clone(), down.clone());
        connections.spawn(async move {
            let far = TcpSocket::new_v4()?;
            SockRef::from(&far).set_tcp_mss(SEGMENT)?;
            if down.borrow().rate != 0 {
                SockRef::from(&far).set_recv_buffer_size(SLOW_QUEUE)?;
                SockRef::from(&near).set_recv_buffer_size(SLOW_QUEUE)?;
            }
            let far = far.connect(relay).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            // When one direction breaks, so does the other.
            tokio::try_join!(
                pump(near_read, far_write, up),
                pump(far_read, near_write, down)
            )?;
            io::Result::Ok(())
        });
    }
}

/// Carries one direction of a TCP connection to its end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) -> io::Result<()> {
    let mut buf = vec![0; PIECE];
    loop {
        let slow = way.borrow().rate != 0;
        let room = if slow { SLOW_PIECE } else { PIECE };
        let len = from.read(&mut buf[..room]).await?;
        let now = way.wait_for(|way| way.state == State::Open).await;
        let Way { delay, rate, .. } = *now.map_err(|_| io::ErrorKind::BrokenPipe)?;
        tokio::time::sleep(delay).await;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buf[..len]).await?;
        if rate != 0 {
            tokio::time::sleep(Duration::from_secs_f64(len as f64 / f64::from(rate))).await;
        }
    }
}

async fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a socket on loopback");
    // The kernel may give less: then a burst loses packets, as on a real network.
    let _ = SockRef::from(&socket).set_recv_buffer_size(4 * 1024 * 1024);
    socket
}

/// Reads what the relay sends to one client.
async fn back(
    flow: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    queue: mpsc::Sender<Packet>,
    way: watch::Receiver<Way>,
) {
    let mut buf = vec![0; PACKET];
    loop {
        // An error is an ICMP message: the relay's port is closed for now.
        if let Ok((len, _)) = flow.recv_from(&mut buf).await {
            offer(&queue, &way, &buf[..len], Arc::clone(&socket), client);
        }
    }
}

/// Puts a packet on its way, unless the link is cut or its queue is full.
fn offer(
    queue: &mpsc::Sender<Packet>,
    way: &watch::Receiver<Way>,
    bytes: &[u8],
    socket: Arc<UdpSocket>,
    to: SocketAddr,
) {
    let way = *way.borrow();
    if way.state != State::Cut {
        let _ = queue.try_send(Packet {
            due: Instant::now() + way.delay,
            bytes: bytes.to_vec(),
            socket,
            to,
        });
    }
}

/// Sends packets of one direction on, in order.
async fn carry(mut queue: mpsc::Receiver<Packet>, mut way: watch::Receiver<Way>) {
    while let Some(packet) = queue.recv().await {
        tokio::time::sleep_until(packet.due).await;
        let Ok(now) = way
            .wait_for(|way| way.state != State::Held)
            .await
            .map(|w| *w)
        else {
            return;
        };
        if now.state == State::Open {
            let _ = packet.socket.send_to(&packet.bytes, packet.to).await;
        }
    }
}
