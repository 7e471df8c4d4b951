//! The app: records what it got, byte for byte, and answers as it is told.

use crate::http::{Ended, Fields, Framing, Piece, Reader, fields};
use crate::process::Process;
use crate::soon;
use socket2::{SockRef, Socket};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::JoinSet;

/// Events that wait for the test; more are a fault of the test.
const EVENTS: usize = 4096;

/// Bytes of a body that are kept. Of a longer one, length and digest tell.
const KEPT: usize = 1024 * 1024;

/// Bytes written at once where many are asked for.
const PIECE: usize = 64 * 1024;

/// A request as the app got it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and fields as they stood, without the empty line.
    pub head: String,
    /// The fields of it.
    pub fields: Fields,
    /// The body, out of its chunks; its first MiB.
    pub body: Vec<u8>,
    /// All bytes of the body.
    pub len: u64,
    /// SHA-256 of the whole body.
    pub digest: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
    /// Whether its last byte came.
    pub whole: bool,
    /// Which connection of the app it came by, from 1.
    pub connection: u64,
}

impl Received {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        crate::field(&self.fields, name)
    }

    /// The request line.
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }
}

/// Holds a script until the test lets it go on. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::channel(false).0)
    }
}

impl Gate {
    /// Lets through whoever waits, and whoever comes.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        // The gate itself keeps the channel open.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What the app does with one request, in order, once its head is there. A script that reads the
/// whole request leaves the connection open for the next; any other closes it at its end.
#[derive(Clone, Debug, Default)]
pub struct Script(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Request,
    Some(u64),
    Send(Vec<u8>),
    Many(u64),
    Wait(Gate),
    Gone,
    HalfClose,
    Reset,
    Close,
    Echo,
}

impl Script {
    /// Reads the request and answers 200 with this body.
    pub fn ok(body: &str) -> Script {
        Script::answer(200, body)
    }

    /// Reads the request and answers with this status and body.
    pub fn answer(status: u16, body: &str) -> Script {
        let length = body.len();
        Script::raw(format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Reads the request and sends these bytes, whatever they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Script {
        Script::default().request().send(bytes)
    }

    /// Reads the request and says nothing, until whoever asked hangs up.
    pub fn never() -> Script {
        Script::default().request().gone()
    }

    /// Reads the rest of the request and records it.
    #[must_use]
    pub fn request(self) -> Script {
        self.then(Step::Request)
    }

    /// Reads so many more bytes of the body, or all that there are.
    #[must_use]
    pub fn some(self, bytes: u64) -> Script {
        self.then(Step::Some(bytes))
    }

    /// Sends bytes as they are.
    #[must_use]
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Script {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends so many zero bytes, as fast as they are taken.
    #[must_use]
    pub fn many(self, bytes: u64) -> Script {
        self.then(Step::Many(bytes))
    }

    /// Waits for the test.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Script {
        self.then(Step::Wait(gate.clone()))
    }

    /// Waits until whoever asked hangs up; [`Origin::gone`] tells.
    #[must_use]
    pub fn gone(self) -> Script {
        self.then(Step::Gone)
    }

    /// Ends the sending side only.
    #[must_use]
    pub fn half_close(self) -> Script {
        self.then(Step::HalfClose)
    }

    /// Breaks the connection off, as a killed process with bytes unread does.
    #[must_use]
    pub fn reset(self) -> Script {
        self.then(Step::Reset)
    }

    /// Closes the connection; [`Origin::gone`] tells.
    #[must_use]
    pub fn close(self) -> Script {
        self.then(Step::Close)
    }

    /// Sends back every byte that comes, then ends as the other side does.
    #[must_use]
    pub fn echo(self) -> Script {
        self.then(Step::Echo)
    }

    fn then(mut self, step: Step) -> Script {
        self.0.push(step);
        self
    }
}

/// An app on loopback.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    heads: AsyncMutex<mpsc::Receiver<Received>>,
    requests: AsyncMutex<mpsc::Receiver<Received>>,
    gone: AsyncMutex<mpsc::Receiver<u64>>,
    /// Holds the port while nothing listens there.
    absent: Option<Socket>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    always: Mutex<Script>,
    connections: AtomicU64,
    seen: AtomicU64,
    read: watch::Sender<u64>,
    sent: watch::Sender<u64>,
    heads: mpsc::Sender<Received>,
    requests: mpsc::Sender<Received>,
    gone: mpsc::Sender<u64>,
}

impl Origin {
    /// An app that answers 200 to everything.
    pub fn start() -> Origin {
        let mut origin = Origin::absent();
        origin.appear();
        origin
    }

    /// A port on which nothing listens, and which nobody else gets.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub fn absent() -> Origin {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .and_then(|socket| {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                socket.bind(&any.into()).map(|()| socket)
            })
            .expect("a port on loopback");
        let address = socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .expect("a bound socket has an address");
        let (heads, heads_from) = mpsc::channel(EVENTS);
        let (requests, requests_from) = mpsc::channel(EVENTS);
        let (gone, gone_from) = mpsc::channel(EVENTS);
        Origin {
            address,
            shared: Arc::new(Shared {
                scripts: Mutex::default(),
                always: Mutex::new(Script::ok("hello from the app\n")),
                connections: AtomicU64::new(0),
                seen: AtomicU64::new(0),
                read: watch::channel(0).0,
                sent: watch::channel(0).0,
                heads,
                requests,
                gone,
            }),
            heads: AsyncMutex::new(heads_from),
            requests: AsyncMutex::new(requests_from),
            gone: AsyncMutex::new(gone_from),
            absent: Some(socket),
            process: None,
        }
    }

    /// Begins to listen on the port that was held.
    ///
    /// # Panics
    ///
    /// When it listens already.
    pub fn appear(&mut self) {
        let socket = self.absent.take().expect("it does not listen yet");
        socket.listen(1024).expect("a bound socket listens");
        socket.set_nonblocking(true).expect("it can be awaited");
        let process = Process::new("origin");
        let shared = Arc::clone(&self.shared);
        process.handle().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(socket.into()).expect("a listener");
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                while connections.try_join_next().is_some() {}
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                connections.spawn(serve(stream, number, Arc::clone(&shared)));
            }
        });
        self.process = Some(process);
    }

    /// Ends as a killed app does: all its connections break.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to the next request that has no script yet.
    pub fn next(&self, script: Script) {
        self.shared
            .scripts
            .lock()
            .expect("not poisoned")
            .push_back(script);
    }

    /// What happens to every request without a script of its own.
    pub fn always(&self, script: Script) {
        *self.shared.always.lock().expect("not poisoned") = script;
    }

    /// Waits for the head of the next request.
    pub async fn head(&self) -> Received {
        soon("a request's head at the app", async {
            self.heads.lock().await.recv().await
        })
        .await
        .expect("we hold a sender")
    }

    /// Waits for the next request that came to its end, or was cut.
    pub async fn request(&self) -> Received {
        soon("a request at the app", async {
            self.requests.lock().await.recv().await
        })
        .await
        .expect("we hold a sender")
    }

    /// Waits until the next connection is over: hung up on where a script waits for that, or closed
    /// by a script. Which connection.
    pub async fn gone(&self) -> u64 {
        soon("the app is hung up on", async {
            self.gone.lock().await.recv().await
        })
        .await
        .expect("we hold a sender")
    }

    /// Requests whose head came, in all.
    pub fn seen(&self) -> u64 {
        self.shared.seen.load(Ordering::SeqCst)
    }

    /// Bytes of bodies read so far.
    pub fn read(&self) -> watch::Receiver<u64> {
        self.shared.read.subscribe()
    }

    /// Bytes sent so far by [`Script::many`].
    pub fn sent(&self) -> watch::Receiver<u64> {
        self.shared.sent.subscribe()
    }
}

/// The connection is at its end, or of no more use.
struct Over;

impl From<Ended> for Over {
    fn from(_: Ended) -> Over {
        Over
    }
}

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Over {
        Over
    }
}

async fn serve(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let mut connection = Connection {
        reader: Reader::new(read),
        write,
        number,
        shared,
    };
    while connection.exchange().await.is_ok() {}
}

struct Connection {
    reader: Reader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    number: u64,
    shared: Arc<Shared>,
}

/// The request that is being read.
struct Incoming {
    received: Received,
    digest: ring::digest::Context,
    framing: Framing,
    ended: bool,
}

impl Connection {
    async fn exchange(&mut self) -> Result<(), Over> {
        let head = self.reader.head().await?;
        let fields = fields(&head);
        let framing = Framing::of(&fields).unwrap_or(Framing::Length(0));
        self.reader.begin(framing);
        let received = Received {
            head,
            fields,
            body: Vec::new(),
            len: 0,
            digest: Vec::new(),
            trailers: Fields::new(),
            whole: false,
            connection: self.number,
        };
        let script = {
            let mut scripts = self.shared.scripts.lock().expect("not poisoned");
            let next = scripts.pop_front();
            next.unwrap_or_else(|| self.shared.always.lock().expect("not poisoned").clone())
        };
        self.shared.seen.fetch_add(1, Ordering::SeqCst);
        let _ = self.shared.heads.try_send(received.clone());
        let mut incoming = Incoming {
            received,
            digest: ring::digest::Context::new(&ring::digest::SHA256),
            framing,
            ended: false,
        };
        for step in script.0 {
            self.step(step, &mut incoming).await?;
        }
        match incoming.ended {
            true => Ok(()),
            false => Err(Over),
        }
    }

    async fn step(&mut self, step: Step, incoming: &mut Incoming) -> Result<(), Over> {
        match step {
            Step::Request => {
                while !incoming.ended {
                    self.piece(incoming).await?;
                }
            }
            Step::Some(bytes) => {
                let until = incoming.received.len + bytes;
                while !incoming.ended && incoming.received.len < until {
                    self.piece(incoming).await?;
                }
            }
            Step::Send(bytes) => self.write.write_all(&bytes).await?,
            Step::Many(bytes) => {
                let piece = [0; PIECE];
                let mut left = bytes;
                while left > 0 {
                    let n = left.min(PIECE as u64);
                    self.write
                        .write_all(&piece[..usize::try_from(n).unwrap_or(PIECE)])
                        .await?;
                    left -= n;
                    self.shared.sent.send_modify(|sent| *sent += n);
                }
            }
            Step::Wait(gate) => gate.wait().await,
            Step::Gone => {
                while self.reader.fill().await.is_ok() {}
                let _ = self.shared.gone.try_send(self.number);
                return Err(Over);
            }
            Step::HalfClose => self.write.shutdown().await?,
            Step::Reset => {
                SockRef::from(self.write.as_ref()).set_linger(Some(Duration::ZERO))?;
                return Err(Over);
            }
            Step::Close => {
                self.write.shutdown().await?;
                let _ = self.shared.gone.try_send(self.number);
                return Err(Over);
            }
            Step::Echo => {
                let first = std::mem::take(&mut self.reader.buf);
                self.write.write_all(&first).await?;
                tokio::io::copy(&mut self.reader.io, &mut self.write).await?;
                self.write.shutdown().await?;
                return Err(Over);
            }
        }
        Ok(())
    }

    /// Reads one piece of the body; at its end, or when it is cut, the request is recorded.
    async fn piece(&mut self, incoming: &mut Incoming) -> Result<(), Over> {
        let piece = self.reader.piece(incoming.framing).await;
        let over = match piece {
            Ok(Piece::Data(data)) => {
                let received = &mut incoming.received;
                received.len += data.len() as u64;
                let room = KEPT.saturating_sub(received.body.len()).min(data.len());
                received.body.extend_from_slice(&data[..room]);
                incoming.digest.update(&data);
                self.shared
                    .read
                    .send_modify(|read| *read += data.len() as u64);
                return Ok(());
            }
            Ok(Piece::End(trailers)) => {
                incoming.received.trailers = trailers;
                incoming.received.whole = true;
                incoming.ended = true;
                Ok(())
            }
            Err(Ended) => Err(Over),
        };
        let mut received = incoming.received.clone();
        received.digest = incoming.digest.clone().finish().as_ref().to_vec();
        let _ = self.shared.requests.try_send(received);
        over
    }
}
