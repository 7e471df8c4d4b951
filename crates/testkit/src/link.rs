//! The network between client and relay: UDP that can be held, delayed and cut.

use crate::process::Process;
use socket2::SockRef;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Packets under way in one direction. One more is lost, as in a router.
const QUEUE: usize = 4096;

/// The largest UDP payload.
const PACKET: usize = 65_535;

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
    flows: Arc<Mutex<Flows>>,
    _process: Process,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    state: State,
    delay: Duration,
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
        };
        let (to_relay, up) = watch::channel(open);
        let (to_client, down) = watch::channel(open);
        let flows = Arc::new(Mutex::new(Flows::new()));
        let near = Arc::clone(&flows);
        let socket = process.run(async { Arc::new(socket().await) }).await;
        let address = socket.local_addr().expect("a bound socket has an address");
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
            flows,
            _process: process,
        }
    }

    /// Where clients dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses every packet, those under way too.
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
