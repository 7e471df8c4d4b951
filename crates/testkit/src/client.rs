//! The client as `client http` assembles it, with a key, a folder and a store of its own.

use crate::process::Process;
use crate::soon;
use capture::{Change, Delivery, Limits, Request, Response, Store};
use client::agent::{Agent, ConnectError, Online};
use client::delivery::{Deliveries, Forwarding, HostHeader, ReplayError};
use client::failure::Failure;
use client::guard::{Guard, OnInvalid, Rule};
use client::http::Trust;
use client::inspector::Inspector;
use client::origin::{Address, Origin};
use client::state::State;
use client::status::{self, Status};
use signature::{Catalogue, Keys, Secret};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tunnel::{Dialer, Target, Transport};

/// What a laptop keeps: the client's key, and what it recorded. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct Home(Arc<TempDir>);

impl Default for Home {
    fn default() -> Home {
        Home(Arc::new(tempfile::tempdir().expect("a folder")))
    }
}

impl Home {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whose laptop.
    pub home: Home,
    /// Over what it comes.
    pub transport: Transport,
    /// The wanted name; empty for any.
    pub name: String,
    /// Empty for none.
    pub token: String,
    /// CloudVNO's secret; empty for none.
    pub secret: String,
    /// Paths that CloudVNO guards whatever the headers say.
    pub guarded: Vec<String>,
    /// What happens to a request whose signature is not valid.
    pub on_invalid: OnInvalid,
    /// How requests are forwarded.
    pub forwarding: Forwarding,
    /// How much is kept.
    pub limits: Limits,
}

impl Setup {
    /// The secret that signs and verifies in tests.
    pub const SECRET: &str = "the-secret-of-the-tests";

    /// The usual one, over `transport`.
    pub fn over(transport: Transport) -> Setup {
        Setup {
            transport,
            ..Setup::default()
        }
    }
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            home: Home::default(),
            transport: Transport::Quic,
            name: String::from("shop"),
            token: String::new(),
            secret: String::from(Setup::SECRET),
            guarded: Vec::new(),
            on_invalid: OnInvalid::Flag,
            forwarding: Forwarding {
                timeout: None,
                host: HostHeader::Preserve,
                add: Vec::new(),
                remove: Vec::new(),
            },
            limits: Limits::default(),
        }
    }
}

/// A running client. Dropped, it is killed.
#[derive(Debug)]
pub struct Client {
    /// Before all else: once it is dropped, nothing of it can say goodbye.
    process: Process,
    /// How its tunnel stands.
    pub status: watch::Receiver<Status>,
    /// What it records.
    pub store: Store,
    inspector: Inspector,
    name: String,
    url: String,
    stop: watch::Sender<bool>,
    over: Option<oneshot::Receiver<Option<Failure>>>,
    _home: Home,
}

impl Client {
    /// Starts a client that dials `relay` and forwards to `origin`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when there is no first session.
    ///
    /// # Panics
    ///
    /// When its folder is of no use.
    pub async fn start(
        setup: Setup,
        relay: SocketAddr,
        ca: PathBuf,
        origin: SocketAddr,
    ) -> Result<Client, ConnectError> {
        let process = Process::new("client");
        let home = setup.home.clone();
        let (agent, online, inspector) = process
            .run(async move {
                let (agent, inspector) = assemble(&setup, relay, &ca, origin);
                let online = agent.connect().await?;
                Ok::<_, ConnectError>((agent, online, inspector))
            })
            .await?;
        Ok(Client::with(process, home, agent, online, inspector))
    }

    fn with(
        process: Process,
        home: Home,
        agent: Agent,
        online: Online,
        inspector: Inspector,
    ) -> Client {
        let (name, url) = (online.name.clone(), online.url.clone());
        let (stop, stopped) = watch::channel(false);
        let (ended, over) = oneshot::channel();
        process.handle().spawn(async move {
            let _ = ended.send(agent.run(online, stopped).await);
        });
        Client {
            status: inspector.status(),
            store: inspector.store().clone(),
            inspector,
            name,
            url,
            stop,
            over: Some(over),
            process,
            _home: home,
        }
    }

    /// Its public name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public URL, without a final slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port of its public URL.
    pub fn authority(&self) -> &str {
        self.url.strip_prefix("https://").unwrap_or(&self.url)
    }

    /// Waits until its status is as wanted.
    pub async fn status_when(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        soon(what, self.status.wait_for(|status| wanted(status)))
            .await
            .expect("the agent runs")
            .clone()
    }

    /// Waits until what it records is as wanted. The deliveries in memory, oldest first.
    pub async fn records_when(
        &self,
        what: &str,
        wanted: impl Fn(&[Arc<Delivery>]) -> bool,
    ) -> Vec<Arc<Delivery>> {
        soon(what, async {
            let (mut now, mut feed) = self.store.watch();
            while !wanted(&now) {
                assert!(
                    !matches!(feed.next().await, Change::Closed),
                    "the store is closed, and not: {what}"
                );
                (now, feed) = self.store.watch();
            }
            now
        })
        .await
    }

    /// Waits until the only delivery has so many attempts and all of them are over.
    pub async fn delivery(&self, attempts: usize) -> Arc<Delivery> {
        let what = format!("one delivery with {attempts} attempts that are over");
        let all = self
            .records_when(&what, |all| match all {
                [one] => {
                    one.attempts.len() == attempts
                        && one
                            .attempts
                            .iter()
                            .all(|a| a.outcome != capture::Outcome::Pending)
                }
                _ => false,
            })
            .await;
        Arc::clone(&all[0])
    }

    /// The exact request of attempt `n`, and the app's answer to it.
    ///
    /// # Panics
    ///
    /// When the store does not have the request.
    pub async fn exact(&self, delivery: &Delivery, n: u32) -> (Request, Option<Response>) {
        self.store.flush().await;
        let attempt = delivery.attempts.iter().find(|a| a.n == n);
        let request = attempt.expect("the attempt").request;
        let request = self.store.request(request).await.expect("the store reads");
        let response = self.store.response(delivery.id, n).await;
        (
            request.expect("the request is kept"),
            response.expect("the store reads"),
        )
    }

    /// Replays a delivery to its end; the new attempt's number.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when it cannot be replayed.
    pub async fn replay(&self, delivery: &Delivery) -> Result<u32, ReplayError> {
        let (inspector, id) = (self.inspector.clone(), delivery.id);
        soon(
            "the replay is over",
            self.process.run(async move {
                let (n, over) = inspector.replay(id).await?;
                let _ = over.await;
                Ok(n)
            }),
        )
        .await
    }

    /// Waits until the agent gives up; why.
    ///
    /// # Panics
    ///
    /// When called twice, or when the agent ended because it was asked to.
    pub async fn gives_up(&mut self) -> Failure {
        let over = self.over.take().expect("asked once");
        soon("the client gives up", over)
            .await
            .expect("the agent says why")
            .expect("it was not asked to stop")
    }

    /// Ends in order, as on SIGTERM.
    ///
    /// # Panics
    ///
    /// When the agent panicked.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(over) = self.over.take() {
            soon("the client stops", over)
                .await
                .expect("the agent ends");
        }
        self.store.flush().await;
    }

    /// Ends at once, as a killed process: nobody is told.
    pub fn kill(self) {
        drop(self);
    }
}

/// As `client http` does it.
fn assemble(setup: &Setup, relay: SocketAddr, ca: &Path, origin: SocketAddr) -> (Agent, Inspector) {
    let state = State::at(setup.home.path().to_owned()).expect("a folder");
    let store = Store::open(state.folder(), setup.limits.clone()).expect("a store");
    let mut keys = BTreeMap::new();
    if !setup.secret.is_empty() {
        keys.insert(
            String::from("cloudvno"),
            Keys {
                secrets: vec![Secret::new(setup.secret.clone())],
                ..Keys::default()
            },
        );
    }
    let rules = setup
        .guarded
        .iter()
        .map(|path| Rule {
            path: path.clone(),
            provider: String::from("cloudvno"),
        })
        .collect();
    let address = Address::parse(&origin.to_string()).expect("an address");
    let guard = Guard::new(
        Catalogue::builtin(),
        rules,
        keys,
        setup.on_invalid,
        vec![address.authority()],
    );
    let deliveries = Arc::new(Deliveries {
        store,
        guard,
        origin: Origin::new(address.clone()),
        forwarding: setup.forwarding.clone(),
    });
    let (status, _) = watch::channel(Status {
        state: status::State::Connecting,
        reason: None,
        name: None,
        url: None,
        origin: address.to_string(),
        inspector: None,
        transport: None,
        rtt: None,
        since: Instant::now(),
        reconnects: 0,
        embedded: false,
    });
    let inspector = Inspector::new(Arc::clone(&deliveries), status.subscribe());
    let tls = Trust::only(ca)
        .and_then(|trust| trust.tls().map_err(|error| error.to_string()))
        .expect("the relay's CA");
    let agent = Agent {
        dialer: Dialer::new(tls).expect("QUIC"),
        transport: setup.transport,
        target: Target {
            host: relay.ip().to_string(),
            port: relay.port(),
        },
        key: Arc::new(state.key().expect("a key")),
        token: setup.token.clone(),
        name: (!setup.name.is_empty()).then(|| setup.name.clone()),
        deliveries,
        status,
    };
    (agent, inspector)
}
