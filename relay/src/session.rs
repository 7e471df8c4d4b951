//! One attached client, from its first packet to its last: admission, names, revocation, drain.

use crate::access::{Access, Denied, Grant};
use crate::limits;
use crate::quota::{Claim, Quotas};
use crate::route::{Attached, Bound, Domain, Routes};
use crate::shares::{Share, Shares};
use crate::store::{Held, Store};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};
use tunnel::{Admission, Control, Ended, Listener, Session};
use wire::close::Close;
use wire::{Bind, BindRefused, Drain, EndpointName, Message, Refused, RefusedReason};

/// The program and version that a client's log shows.
const AGENT: &str = concat!("adit-relay/", env!("CARGO_PKG_VERSION"));

/// How the relay is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Serving,
    /// Clients are asked to dial again; what runs has so long to finish.
    Draining(Duration),
}

/// Lets clients in and serves their control streams.
#[derive(Debug)]
pub struct Sessions {
    access: Access,
    store: Store,
    routes: Arc<Routes>,
    domain: Domain,
    /// Grows with every session of this process, from the time of its start.
    next: AtomicU64,
    handshakes: Arc<Semaphore>,
    handshake_shares: Arc<Shares>,
    quotas: Arc<Quotas>,
    places: Arc<Semaphore>,
}

impl Sessions {
    /// Names lead through `routes`, leases are kept in `store`.
    pub fn new(access: Access, store: Store, routes: Arc<Routes>, domain: Domain) -> Sessions {
        let start = u64::try_from(crate::store::unix_now()).unwrap_or(0) << 20;
        Sessions {
            access,
            store,
            routes,
            domain,
            next: AtomicU64::new(start),
            handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES)),
            handshake_shares: Arc::new(Shares::new(limits::HANDSHAKES_PER_ADDRESS)),
            quotas: Arc::default(),
            places: Arc::new(Semaphore::new(limits::SESSIONS)),
        }
    }

    /// Accepts clients until `phase` says that the relay drains, then waits for those attached.
    pub async fn run(self: Arc<Self>, listener: Listener, mut phase: watch::Receiver<Phase>) {
        let mut sessions = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
                incoming = listener.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            // Admission before cryptography: past this bound a herd would only slow itself down.
            let Some(permit) = self.enter(incoming.remote()) else {
                incoming.refuse();
                continue;
            };
            let this = Arc::clone(&self);
            let phase = phase.clone();
            sessions.spawn(async move {
                let peer = incoming.remote();
                let session = this.established(peer, incoming.establish()).await;
                this.admit(session, permit, phase).await;
            });
        }
        listener.stop_accepting();
        while sessions.join_next().await.is_some() {}
    }

    /// Forgets names whose lease is over, again and again.
    pub async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(limits::FORGET).await;
            if let Ok(names) = self.store.run(Store::names).await {
                self.routes.forget(&names.into_iter().collect());
            }
        }
    }

    /// Lets a client in that came over TCP, and serves it to its end.
    pub async fn attach(
        &self,
        stream: TlsStream<TcpStream>,
        peer: SocketAddr,
        phase: watch::Receiver<Phase>,
    ) {
        let Some(permit) = self.enter(peer) else {
            return;
        };
        if *phase.borrow() != Phase::Serving {
            return;
        }
        let session = self
            .established(peer, Session::over_tcp(stream, peer))
            .await;
        self.admit(session, permit, phase).await;
    }

    /// A place for a handshake; `None` when all are taken, or all of this address.
    fn enter(&self, peer: SocketAddr) -> Option<(OwnedSemaphorePermit, Share)> {
        let share = self.handshake_shares.try_take(peer.ip())?;
        let permit = Arc::clone(&self.handshakes).try_acquire_owned().ok()?;
        Some((permit, share))
    }

    async fn established(
        &self,
        peer: SocketAddr,
        session: impl Future<Output = Result<Session, Ended>>,
    ) -> Option<Session> {
        match tokio::time::timeout(tunnel::windows::HANDSHAKE, session).await {
            Ok(Ok(session)) => Some(session),
            Ok(Err(error)) => {
                info!(%peer, %error, "tunnel handshake failed");
                None
            }
            Err(_) => {
                info!(%peer, "tunnel handshake too slow");
                None
            }
        }
    }

    /// Hears who the client is, lets it in or turns it away, and serves it to its end. The permit
    /// is given back once its key is proven.
    async fn admit(
        &self,
        session: Option<Session>,
        permit: (OwnedSemaphorePermit, Share),
        phase: watch::Receiver<Phase>,
    ) {
        let Some(session) = session else { return };
        let admission = tunnel::receive(&session).await;
        drop(permit);
        match admission {
            Ok(admission) => self.attend(session, admission, phase).await,
            Err(error) => warn!(peer = %session.remote(), %error, "client refused"),
        }
    }

    async fn attend(&self, session: Session, admission: Admission, phase: watch::Receiver<Phase>) {
        let peer = session.remote();
        let refuse = |reason, message: String, retry_after_ms| Refused {
            reason,
            message,
            retry_after_ms,
        };
        let grant = match self.access.admit(&admission.hello.token).await {
            Ok(Ok(grant)) => grant,
            Ok(Err(Denied { reason, message })) => {
                warn!(%peer, ?reason, "client refused");
                admission.refuse(refuse(reason, message, 0)).await;
                return;
            }
            Err(error) => {
                tracing::error!(%error, "token not checked");
                let message = String::from("the relay cannot check tokens now");
                admission
                    .refuse(refuse(RefusedReason::Busy, message, 5_000))
                    .await;
                return;
            }
        };
        let Ok(_place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = String::from("this relay has as many clients as it takes");
            admission
                .refuse(refuse(RefusedReason::Busy, message, 10_000))
                .await;
            return;
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let attached = Arc::new(Attached {
            id,
            key: admission.hello.key,
            session: session.clone(),
            shares: Arc::new(Shares::new(limits::EXCHANGES_PER_ADDRESS)),
        });
        let agent = admission.hello.agent.chars().take(80).collect::<String>();
        let control = match admission.welcome(id, AGENT).await {
            Ok(control) => control,
            Err(_) => return,
        };
        info!(session = id, %peer, transport = session.transport(), token = %grant.label, ?agent, "client attached");
        let mut attending = Attending {
            sessions: self,
            attached,
            grant,
            bound: Vec::new(),
            claims: Vec::new(),
        };
        let why = attending.serve(control, phase).await;
        let names: Vec<String> = attending
            .bound
            .iter()
            .map(|bound| bound.name().to_string())
            .collect();
        info!(session = id, %peer, ?names, why, "client left");
        attending.renew().await;
    }
}

struct Attending<'a> {
    sessions: &'a Sessions,
    attached: Arc<Attached>,
    grant: Grant,
    bound: Vec<Bound>,
    /// The names as they count against the token.
    claims: Vec<Claim>,
}

impl Attending<'_> {
    /// Serves the control stream until the session is over; says why it ended.
    async fn serve(&mut self, mut control: Control, mut phase: watch::Receiver<Phase>) -> String {
        let session = self.attached.session.clone();
        let every = |period| {
            let mut interval = tokio::time::interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        };
        let mut check = every(limits::TOKEN_CHECK);
        let mut renew = every(limits::LEASE_RENEWAL);
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                ended = session.closed() => return ended.to_string(),
                grace = drain_asked(&mut phase), if !draining => {
                    draining = true;
                    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                    let _ = control.send(Message::Drain(Drain { grace_ms })).await;
                }
                _ = check.tick() => {
                    // A database that fails ends nobody's session.
                    if let Ok(false) = self.sessions.access.still_holds(&self.grant).await {
                        let why = "the token was revoked or has expired";
                        session.close(Close::REVOKED, why);
                        return why.to_owned();
                    }
                }
                _ = renew.tick() => self.renew().await,
                message = control.recv() => {
                    let answer = match message {
                        Ok(Message::Bind(bind)) => self.bind(bind).await,
                        Ok(_) => {
                            session.close(Close::PROTOCOL, "only Bind may follow Hello");
                            continue;
                        }
                        Err(error) => return error.to_string(),
                    };
                    if let Err(ended) = control.send(answer).await {
                        return ended.to_string();
                    }
                }
            }
        }
    }

    /// The leases of the names that lead here run from now.
    async fn renew(&self) {
        for bound in &self.bound {
            let (name, key) = (bound.name().clone(), self.attached.key);
            let token = self.grant.label.clone();
            let renewed = self
                .sessions
                .store
                .run(move |store| store.lease(&name, &key, &token))
                .await;
            if !matches!(renewed, Ok(Ok(()))) {
                warn!(session = self.attached.id, name = %bound.name(), "lease not renewed");
            }
        }
    }

    async fn bind(&mut self, bind: Bind) -> Message {
        let id = bind.id;
        match self.lead(&bind.name, bind.replaces).await {
            Ok(name) => Message::Bound(wire::Bound {
                id,
                url: self.sessions.domain.url(&name),
                name: name.to_string(),
            }),
            Err(Denied { reason, message }) => {
                warn!(session = self.attached.id, name = %visible(&bind.name), ?reason, "name refused");
                Message::BindRefused(BindRefused {
                    id,
                    reason,
                    message,
                })
            }
        }
    }

    /// Leads a name to this client: the wanted one, or any when none is wanted.
    async fn lead(&mut self, wanted: &str, replaces: u64) -> Result<EndpointName, Denied> {
        if self.bound.len() >= limits::NAMES_PER_SESSION {
            let most = limits::NAMES_PER_SESSION;
            return Err(Denied {
                reason: RefusedReason::TooManyTunnels,
                message: format!("one client may open {most} tunnels at once"),
            });
        }
        if !wanted.is_empty() {
            let name = EndpointName::parse(wanted).map_err(|error| Denied {
                reason: RefusedReason::NameInvalid,
                message: format!("{} cannot be a name: {error}", visible(wanted)),
            })?;
            return self.take(name, replaces).await;
        }
        let mut last = None;
        for round in 0..20 {
            let Some(name) = self.grant.any_name(round) else {
                continue;
            };
            match self.take(name, 0).await {
                Ok(name) => return Ok(name),
                Err(denied) => last = Some(denied),
            }
        }
        Err(last.unwrap_or(Denied {
            reason: RefusedReason::Busy,
            message: String::from("no free name was found"),
        }))
    }

    /// Counts a name against the token, where the token has a limit.
    fn claim(&self, name: &EndpointName) -> Result<Option<Claim>, Denied> {
        let (Some(token), most @ 1..) = (&self.grant.id, self.grant.max_tunnels) else {
            return Ok(None);
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.sessions.quotas.claim(token, name, most) {
            Some(claim) => Ok(Some(claim)),
            None => Err(Denied {
                reason: RefusedReason::TooManyTunnels,
                message: format!(
                    "this token may open {most} tunnels at once, over all its clients"
                ),
            }),
        }
    }

    async fn take(&mut self, name: EndpointName, replaces: u64) -> Result<EndpointName, Denied> {
        if self.bound.iter().any(|bound| bound.name() == &name) {
            return Ok(name);
        }
        if !self.grant.allows(&name) {
            return Err(Denied {
                reason: RefusedReason::NameNotAllowed,
                message: format!(
                    "this token may not use the name {name}, only {}",
                    self.grant.patterns()
                ),
            });
        }
        // Counted before it is leased: a name too many is not kept for its asker either.
        let claim = self.claim(&name)?;
        let (key, label) = (self.attached.key, self.grant.label.clone());
        let leased = {
            let name = name.clone();
            self.sessions
                .store
                .run(move |store| store.lease(&name, &key, &label))
                .await
        };
        match leased {
            Ok(Ok(())) => {}
            Ok(Err(held)) => return Err(taken(&name, &held)),
            Err(error) => {
                tracing::error!(%error, "name not leased");
                return Err(Denied {
                    reason: RefusedReason::Busy,
                    message: String::from("the relay cannot lease names now"),
                });
            }
        }
        match self
            .sessions
            .routes
            .bind(name.clone(), Arc::clone(&self.attached))
        {
            Ok((bound, before)) => {
                self.bound.push(bound);
                self.claims.extend(claim);
                if let Some(before) = before {
                    info!(%name, from = before.id, to = self.attached.id, "name taken over");
                    // Only the same key gets here. Its client has said that it goes on with this
                    // session and lets the other finish; else the other is a ghost, or a twin.
                    if before.id != replaces {
                        before.session.close(Close::REPLACED, name.as_str());
                    }
                }
                Ok(name)
            }
            Err(_) => Err(Denied {
                reason: RefusedReason::NameTaken,
                message: format!("the name {name} is in use by another client right now"),
            }),
        }
    }
}

/// Waits until the relay drains; how long what runs has to finish.
async fn drain_asked(phase: &mut watch::Receiver<Phase>) -> Duration {
    loop {
        if let Phase::Draining(grace) = *phase.borrow_and_update() {
            return grace;
        }
        if phase.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn taken(name: &EndpointName, held: &Held) -> Denied {
    let who = match held.token.as_str() {
        "" => String::from("another client"),
        token => format!("another client (token {})", visible(token)),
    };
    Denied {
        reason: RefusedReason::NameTaken,
        message: format!("the name {name} belongs to {who} until {}", utc(held.until)),
    }
}

/// A text from a peer or the operator as it may stand in a message: short, no controls.
fn visible(text: &str) -> String {
    text.chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect()
}

/// `2026-11-25 04:12 UTC`, from seconds since the epoch (Howard Hinnant's `civil_from_days`).
fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        rest / 3600,
        rest % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_a_date() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(1_790_000_000), "2026-09-21 14:13 UTC");
        assert_eq!(utc(1_709_164_800), "2024-02-29 00:00 UTC");
    }
}
