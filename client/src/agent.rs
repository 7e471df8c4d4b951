//! Keeps a session with the relay: dials, joins, binds the name, serves streams, and does it all
//! again when the session is lost.

use crate::delivery::Deliveries;
use crate::failure::{Exit, Failure};
use crate::status::{State, Status};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tunnel::{
    ClientKey, Control, DialError, Dialer, Ended, HandshakeError, Session, Target, Transport,
};
use wire::close::Close;
use wire::{Bind, BindRefused, Message, RefusedReason};

/// The program and version that the relay's log shows.
const AGENT: &str = concat!("adit-client/", env!("CARGO_PKG_VERSION"));

/// The first wait before dialling again; it doubles with every failed try.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait. After an outage the client is back at most this long after the network.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// A session that stood for so long was a good one: after it the waits begin small again.
const LASTING: Duration = Duration::from_secs(5);

/// While TCP carries the tunnel, QUIC is tried again after this, then after twice as long.
const FIRST_MOVE_UP: Duration = Duration::from_secs(10);

/// The longest wait between two tries of QUIC. A failed one costs a few packets.
const LONGEST_MOVE_UP: Duration = Duration::from_secs(300);

/// How often the round trip on the screen is renewed.
const RTT: Duration = Duration::from_secs(1);

/// What a session needs.
#[derive(Debug)]
pub struct Agent {
    /// Dials.
    pub dialer: Dialer,
    /// Over what.
    pub transport: Transport,
    /// The relay.
    pub target: Target,
    /// Owns the name.
    pub key: Arc<ClientKey>,
    /// Empty for none.
    pub token: String,
    /// The wanted name; after the first session, the name it gave.
    pub name: Option<String>,
    /// Serves the streams.
    pub deliveries: Arc<Deliveries>,
    /// What is true of the tunnel.
    pub status: watch::Sender<Status>,
}

/// A session with a name.
#[derive(Debug)]
pub struct Online {
    session: Session,
    control: Control,
    /// The relay's number of the session.
    id: u64,
    /// The name.
    pub name: String,
    /// Its public URL.
    pub url: String,
}

/// A session without a name.
struct Joined {
    session: Session,
    control: Control,
    /// The relay's number of it.
    id: u64,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The relay was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was, and there was no welcome.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The name was refused.
    #[error("{}", .0.message)]
    Name(BindRefused),
}

impl ConnectError {
    /// Whether trying again later may help.
    fn is_passing(&self) -> bool {
        match self {
            ConnectError::Dial(_) => true,
            ConnectError::Handshake(HandshakeError::Refused(refused)) => {
                refused.reason == RefusedReason::Busy
            }
            ConnectError::Handshake(_) => true,
            ConnectError::Name(refused) => refused.reason == RefusedReason::Busy,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            ConnectError::Handshake(HandshakeError::Refused(refused)) => {
                Some(Duration::from_millis(refused.retry_after_ms.min(60_000)))
            }
            _ => None,
        }
    }
}

impl Agent {
    /// Makes one session.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Online, ConnectError> {
        self.connect_with(self.name.clone()).await
    }

    /// Makes one session, with this name or with any.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect_with(&self, name: Option<String>) -> Result<Online, ConnectError> {
        self.session(self.transport, name, 0).await
    }

    async fn session(
        &self,
        transport: Transport,
        name: Option<String>,
        replaces: u64,
    ) -> Result<Online, ConnectError> {
        let joined = self.join(transport).await?;
        self.bind(joined, name, replaces).await
    }

    async fn join(&self, transport: Transport) -> Result<Joined, ConnectError> {
        let session = self.dialer.dial(&self.target, transport).await?;
        let (control, welcome) = tunnel::join(&session, &self.key, &self.token, AGENT).await?;
        Ok(Joined {
            session,
            control,
            id: welcome.session,
        })
    }

    /// Gets a session its name.
    async fn bind(
        &self,
        joined: Joined,
        name: Option<String>,
        replaces: u64,
    ) -> Result<Online, ConnectError> {
        let Joined {
            session,
            mut control,
            id,
        } = joined;
        let bind = Bind {
            id: 1,
            name: name.unwrap_or_default(),
            replaces,
        };
        control
            .send(Message::Bind(bind))
            .await
            .map_err(HandshakeError::from)?;
        let answer = tokio::time::timeout(tunnel::windows::HANDSHAKE, control.recv()).await;
        match answer.unwrap_or(Err(HandshakeError::Silent))? {
            Message::Bound(bound) => Ok(Online {
                session,
                control,
                id,
                name: bound.name,
                url: bound.url,
            }),
            Message::BindRefused(refused) => {
                session.close(Close::DONE, "name refused");
                Err(ConnectError::Name(refused))
            }
            _ => {
                session.close(Close::PROTOCOL, "neither Bound nor BindRefused after Bind");
                let what = String::from("the relay did not answer the wish for a name");
                Err(HandshakeError::Protocol(what).into())
            }
        }
    }

    /// Serves a session and every one after it, until the relay refuses for good or `stop` turns
    /// true. Says why it ended, when it was not asked to.
    pub async fn run(mut self, first: Online, mut stop: watch::Receiver<bool>) -> Option<Failure> {
        let mut online = first;
        let mut wait = FIRST_WAIT;
        // Sessions that relays gave up: what runs there may finish.
        let mut drained = JoinSet::new();
        loop {
            self.name = Some(online.name.clone());
            self.show_online(&online);
            let session = online.session.clone();
            let since = Instant::now();
            let left = tokio::select! {
                left = self.serve(online) => left,
                _ = stop.wait_for(|stop| *stop) => {
                    session.close(Close::DONE, "the client was stopped");
                    return None;
                }
            };
            let why = match left {
                Left::MovedUp(better, session) => {
                    drained.spawn(session.finish());
                    online = *better;
                    continue;
                }
                Left::Drained(session, why) => {
                    drained.spawn(session.finish());
                    why
                }
                Left::Ended(Ended::ByPeer(Close::REPLACED, name)) => {
                    return Some(
                        Failure::new(
                            Exit::Refused,
                            format!(
                                "another client with this laptop's key has taken the name {name}"
                            ),
                        )
                        .hint("choose another with --name, or stop the other client"),
                    );
                }
                Left::Ended(ended) => ended.to_string(),
            };
            // A relay that lets clients in and loses them at once is not asked again at once.
            if since.elapsed() > LASTING {
                wait = FIRST_WAIT;
            }
            let next = tokio::select! {
                next = self.reconnect(why, &mut wait) => next,
                _ = stop.wait_for(|stop| *stop) => return None,
            };
            online = match next {
                Ok(online) => online,
                Err(error) => {
                    let failure = failure(&error, &self.target).await;
                    self.show(State::Offline, Some(failure.error.clone()));
                    return Some(failure);
                }
            };
            self.status.send_modify(|status| status.reconnects += 1);
        }
    }

    /// Serves the streams of one session until it ends or the relay drains.
    async fn serve(&self, online: Online) -> Left {
        let Online {
            session,
            mut control,
            id,
            ..
        } = online;
        let below = self.transport == Transport::Auto && session.transport() != "quic";
        let mut up = pin!(self.move_up(id));
        let mut exchanges = JoinSet::new();
        let mut rtt = tokio::time::interval(RTT);
        rtt.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = control.recv() => match message {
                    Ok(Message::Drain(_)) => {
                        let why = String::from("the relay is restarting");
                        self.show(State::Draining, Some(why.clone()));
                        return Left::Drained(self.draining(session, control, exchanges), why);
                    }
                    Ok(_) => session.close(Close::PROTOCOL, "not expected after Bound"),
                    Err(HandshakeError::Ended(ended)) => return Left::Ended(ended),
                    Err(error) => return Left::Ended(Ended::Transport(error.to_string())),
                },
                stream = session.accept() => match stream {
                    Ok(stream) => {
                        let deliveries = Arc::clone(&self.deliveries);
                        exchanges.spawn(async move { deliveries.live(stream).await });
                    }
                    Err(ended) => return Left::Ended(ended),
                },
                better = &mut up, if below => {
                    let draining = self.draining(session, control, exchanges);
                    return match better {
                        Ok(better) => Left::MovedUp(Box::new(better), draining),
                        Err(error) => {
                            let why = error.to_string();
                            self.show(State::Draining, Some(why.clone()));
                            Left::Drained(draining, why)
                        }
                    };
                }
                Some(_) = exchanges.join_next(), if !exchanges.is_empty() => {}
                _ = rtt.tick() => {
                    self.deliveries.origin.close_idle();
                    let Some(now) = session.rtt() else { continue };
                    self.status.send_if_modified(|status| {
                        let before = status.rtt.replace(now);
                        // What a screen shows in tenths of a millisecond has not changed.
                        before.is_none_or(|b| b.abs_diff(now) > Duration::from_micros(100))
                    });
                }
            }
        }
    }

    fn draining(
        &self,
        session: Session,
        control: Control,
        exchanges: JoinSet<()>,
    ) -> Box<Draining> {
        Box::new(Draining {
            session,
            control,
            exchanges,
            deliveries: Arc::clone(&self.deliveries),
        })
    }

    /// Tries QUIC until it works, less and less often, and takes the name over from session `id`.
    /// Fails when the name was asked for and no answer came: then it may lead to neither.
    async fn move_up(&self, id: u64) -> Result<Online, ConnectError> {
        let mut wait = FIRST_MOVE_UP;
        loop {
            tokio::time::sleep(wait.mul_f64(0.5 + chance() / 2.0)).await;
            wait = (wait * 2).min(LONGEST_MOVE_UP);
            match self.join(Transport::Quic).await {
                Ok(joined) => return self.bind(joined, self.name.clone(), id).await,
                Err(error) => tracing::debug!(%error, "QUIC does not work yet"),
            }
        }
    }

    /// Dials until there is a session. `wait` is what to wait at most, and grows.
    async fn reconnect(
        &self,
        mut why: String,
        wait: &mut Duration,
    ) -> Result<Online, ConnectError> {
        for tries in 0.. {
            // Full jitter: a relay that restarts is not knocked over by its own clients.
            let mut pause = wait.mul_f64(chance());
            *wait = (*wait * 2).min(LONGEST_WAIT);
            loop {
                let next_try = Instant::now() + pause;
                self.show(State::Reconnecting { tries, next_try }, Some(why.clone()));
                tokio::time::sleep(pause).await;
                match self.connect().await {
                    Ok(online) => return Ok(online),
                    Err(error) if error.is_passing() => {
                        why = error.to_string();
                        match error.retry_after() {
                            Some(after) => pause = after + wait.mul_f64(chance()),
                            None => break,
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        unreachable!("the tries are counted without an end")
    }

    /// Says that this session stands.
    pub fn show_online(&self, online: &Online) {
        self.status.send_modify(|status| {
            status.state = State::Online;
            status.reason = None;
            status.name = Some(online.name.clone());
            status.url = Some(online.url.clone());
            status.transport = Some(online.session.transport());
            status.rtt = online.session.rtt();
            status.since = Instant::now();
        });
    }

    fn show(&self, state: State, reason: Option<String>) {
        self.status.send_modify(|status| {
            if status.state.as_str() != state.as_str() {
                status.since = Instant::now();
            }
            if state != State::Draining {
                status.transport = None;
                status.rtt = None;
            }
            status.state = state;
            status.reason = reason;
        });
    }
}

enum Left {
    /// The session is over.
    Ended(Ended),
    /// It is time to dial again, and why; what runs may finish.
    Drained(Box<Draining>, String),
    /// A session over QUIC has taken over; what runs over TCP may finish.
    MovedUp(Box<Online>, Box<Draining>),
}

/// A session that is about to be given up.
struct Draining {
    session: Session,
    /// Held open: its end would be the session's.
    control: Control,
    exchanges: JoinSet<()>,
    deliveries: Arc<Deliveries>,
}

impl Draining {
    /// A request that the relay took just before it drained may still be on its way here.
    const QUIET: Duration = Duration::from_millis(500);

    /// Lets what runs finish, takes what was on its way, and leaves when nothing comes any more.
    async fn finish(mut self) {
        loop {
            tokio::select! {
                biased;
                stream = self.session.accept() => match stream {
                    Ok(stream) => {
                        let deliveries = Arc::clone(&self.deliveries);
                        self.exchanges.spawn(async move { deliveries.live(stream).await });
                    }
                    Err(_) => return,
                },
                Some(_) = self.exchanges.join_next(), if !self.exchanges.is_empty() => {}
                () = tokio::time::sleep(Self::QUIET), if self.exchanges.is_empty() => break,
            }
        }
        self.session.close(Close::DONE, "drained");
        drop(self.control);
    }
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random bytes every client waits the whole time, which is late but not wrong.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// What a failed connection means for a person. Looks with TCP when UDP was silent.
pub async fn failure(error: &ConnectError, target: &Target) -> Failure {
    match error {
        ConnectError::Dial(DialError::Silent(address)) => {
            let probe =
                tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await;
            match probe {
                Ok(Ok(_)) => Failure::new(
                    Exit::Unreachable,
                    format!("UDP to {target} is closed: TCP answers there, UDP does not"),
                )
                .hint(format!(
                    "open UDP port {} at the relay's firewall, or let --transport auto use TCP",
                    target.port
                )),
                Ok(Err(source)) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Failure::new(Exit::Unreachable, format!("no relay runs at {target}"))
                        .because(&source)
                        .hint("start it with: relay serve; or check host and port of --relay")
                }
                _ => Failure::new(Exit::Unreachable, format!("{target} does not answer"))
                    .hint("check the address, and whether this machine has a network"),
            }
        }
        ConnectError::Dial(DialError::Tcp(_, source)) => {
            match source.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    Failure::new(Exit::Unreachable, format!("no relay runs at {target}"))
                        .because(source)
                        .hint("start it with: relay serve; or check host and port of --relay")
                }
                _ => Failure::new(Exit::Unreachable, format!("{target} does not answer"))
                    .because(source)
                    .hint("check the address, and whether this machine has a network"),
            }
        }
        ConnectError::Dial(DialError::Certificate(..)) => {
            Failure::from_error(Exit::Unreachable, error).hint(
                "for a relay with its own CA give its ca.pem with --relay-ca; else its certificate is for another name or too old",
            )
        }
        ConnectError::Dial(DialError::Resolve(..)) => {
            Failure::from_error(Exit::Unreachable, error)
                .hint("check the spelling of --relay, and the DNS of this machine")
        }
        ConnectError::Dial(_) => Failure::from_error(Exit::Unreachable, error)
            .hint("check host and port of --relay"),
        ConnectError::Handshake(HandshakeError::Refused(refused)) => {
            let failure = Failure::new(Exit::Refused, refused.message.clone());
            match refused.reason {
                RefusedReason::TokenMissing => {
                    failure.hint("set ADIT_TOKEN; its operator makes one with: relay token add NAME")
                }
                RefusedReason::TokenUnknown
                | RefusedReason::TokenRevoked
                | RefusedReason::TokenExpired => {
                    failure.hint("ask its operator for a new one: relay token add NAME")
                }
                RefusedReason::Version => failure.hint("use the same release on both sides"),
                _ => failure,
            }
        }
        ConnectError::Handshake(_) => Failure::from_error(Exit::Unreachable, error)
            .hint("is it an Adit relay? Its log says what it saw"),
        ConnectError::Name(refused) => {
            Failure::new(Exit::Refused, refused.message.clone()).hint("choose another name with --name")
        }
    }
}
