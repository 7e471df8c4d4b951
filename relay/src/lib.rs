//! The public server, as a library: `Relay::spawn`, `addrs`, `shutdown`.
//!
//! A request is accepted in [`edge`], read and routed in [`ingress`], led by [`route`] to a client
//! attached in [`session`]. It knows no provider's secret and keeps no body.

pub mod access;
mod admin;
mod answer;
pub mod config;
mod edge;
mod ingress;
pub mod limits;
mod names;
mod quota;
mod route;
mod session;
mod shares;
pub mod store;
mod tls;

pub use config::Config;
pub use tls::{Tls, TlsError};

use access::Access;
use edge::{Crowd, Edge, Sockets};
use ingress::Ingress;
use route::{Domain, Routes};
use session::{Phase, Sessions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tunnel::{Listener, ListenerSecrets};
use wire::close::Close;

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder is of no use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// An address cannot be listened on.
    #[error("{0} cannot be listened on")]
    Listen(SocketAddr, #[source] io::Error),
    /// `open` on an address that others reach.
    #[error("an open relay is refused on {0}: everybody who reaches it could publish names")]
    OpenToAll(SocketAddr),
}

/// A running relay. Dropped, it ends at once; [`Relay::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Relay {
    addrs: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    ca: Option<PathBuf>,
    files: Option<Arc<tls::Files>>,
    domain: Domain,
    phase: watch::Sender<Phase>,
    stop: watch::Sender<bool>,
    listeners: Vec<Listener>,
    /// Edges and sessions. They end when there is nothing left to do after a drain.
    tasks: JoinSet<()>,
    /// The operator's listener, and what tidies up. They run until the end.
    watchers: JoinSet<()>,
}

impl Relay {
    /// Starts a relay. Its sockets are bound when this returns.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn spawn(config: Config) -> Result<Relay, StartError> {
        if config.open
            && let Some(address) = config.listen.iter().find(|a| !a.ip().is_loopback())
        {
            return Err(StartError::OpenToAll(*address));
        }
        let store = Store::open(&config.state)?;
        let mut sockets = Vec::new();
        for address in &config.listen {
            let bound = Sockets::bind(*address).map_err(|e| StartError::Listen(*address, e))?;
            sockets.push(bound);
        }
        let addrs = sockets
            .iter()
            .zip(&config.listen)
            .map(|(s, asked)| {
                s.tcp
                    .local_addr()
                    .map_err(|e| StartError::Listen(*asked, e))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let tls = tls::Configs::load(&config.tls, &config.state, &store, &config.domain, &addrs)?;
        let port = addrs.first().map_or(443, SocketAddr::port);
        let domain = Domain::new(&config.domain, port);
        let routes = Arc::new(Routes::default());
        for name in store.names()? {
            routes.away(name);
        }
        let secrets = ListenerSecrets {
            reset: store.secret("stateless reset")?,
            token: store.secret("address tokens")?,
            connection_id: u64::from_le_bytes(store.secret("connection ids")?),
        };

        let (phase, phases) = watch::channel(Phase::Serving);
        let (stop, stops) = watch::channel(false);
        let (mut tasks, mut watchers) = (JoinSet::new(), JoinSet::new());
        let ingress = Arc::new(Ingress::new(Arc::clone(&routes), domain.clone()));
        let access = Access::new(store.clone(), config.open, &config.domain);
        let sessions = Arc::new(Sessions::new(access, store, routes, domain.clone()));
        watchers.spawn(Arc::clone(&sessions).forget());
        let crowd = Arc::new(Crowd::default());
        let mut listeners = Vec::new();
        for (socket, address) in sockets.into_iter().zip(&addrs) {
            let failed = |error| StartError::Listen(*address, error);
            let tcp = tokio::net::TcpListener::from_std(socket.tcp).map_err(failed)?;
            let listener =
                Listener::bind(socket.udp, Arc::clone(&tls.tunnel), &secrets).map_err(failed)?;
            let edge = Edge {
                ingress: Arc::clone(&ingress),
                tls: Arc::clone(&tls.public),
                crowd: Arc::clone(&crowd),
                sessions: Arc::clone(&sessions),
                phase: phases.clone(),
            };
            tasks.spawn(edge.run(tcp, stops.clone()));
            tasks.spawn(Arc::clone(&sessions).run(listener.clone(), phases.clone()));
            listeners.push(listener);
        }
        let admin = match config.admin {
            None => None,
            Some(address) => {
                let failed = |error| StartError::Listen(address, error);
                let listener = tokio::net::TcpListener::bind(address)
                    .await
                    .map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                watchers.spawn(admin::run(listener, phases));
                Some(bound)
            }
        };
        Ok(Relay {
            addrs,
            admin,
            ca: tls.ca,
            files: tls.files,
            domain,
            phase,
            stop,
            listeners,
            tasks,
            watchers,
        })
    }

    /// The addresses it listens on, TCP and UDP alike, in the order of the configuration.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The operator's listener.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The certificate of the private CA, where there is one.
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.ca.as_deref()
    }

    /// The domain that names live under.
    pub fn domain(&self) -> &str {
        self.domain.as_str()
    }

    /// Reads the certificate's files again, where it comes from files. Returns whether it does.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the certificate in use stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        match &self.files {
            None => Ok(false),
            Some(files) => files.reload().map(|()| true),
        }
    }

    /// Ends in order: accepts nothing new, asks clients to dial again, lets what runs finish for
    /// at most `grace`, then closes everything.
    pub async fn shutdown(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Draining(grace));
        self.stop.send_replace(true);
        // Senders first: when their connections have ended, no exchange needs a session.
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, drained).await;
        for listener in &self.listeners {
            listener.close(Close::DRAINING, "the relay is restarting");
        }
        for listener in &self.listeners {
            let _ = tokio::time::timeout(Duration::from_secs(1), listener.wait_idle()).await;
        }
        self.tasks.abort_all();
        self.watchers.abort_all();
    }
}
