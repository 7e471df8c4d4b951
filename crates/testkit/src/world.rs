//! Relay, link and app, and the clients and senders that a story needs.

use crate::client::{Client, Setup};
use crate::link::Link;
use crate::origin::Origin;
use crate::relay::{RelayHouse, RelaySetup};
use crate::sender::{Sender, Wire};
use crate::{Answer, cloudvno, soon};
use client::agent::ConnectError;
use tunnel::Transport;

/// A relay, a link to it, and an app. Clients come with [`World::client`].
#[derive(Debug)]
pub struct World {
    /// The public server.
    pub relay: RelayHouse,
    /// Between it and the clients.
    pub link: Link,
    /// The app.
    pub origin: Origin,
    /// Sends to the relay.
    pub sender: Sender,
    /// Over what [`World::client`] comes.
    pub transport: Transport,
}

impl World {
    /// A world whose relay needs no tokens.
    pub async fn start() -> World {
        World::with(RelaySetup::Open, Origin::start()).await
    }

    /// The same, for clients that come over `transport`.
    pub async fn over(transport: Transport) -> World {
        World {
            transport,
            ..World::start().await
        }
    }

    /// A world with this relay and app.
    pub async fn with(relay: RelaySetup, origin: Origin) -> World {
        let relay = RelayHouse::start(relay).await;
        let link = Link::to(relay.address()).await;
        let sender = Sender::new(relay.address(), relay.ca());
        World {
            relay,
            link,
            origin,
            sender,
            transport: Transport::Quic,
        }
    }

    /// A client with the name `shop` and CloudVNO's secret.
    ///
    /// # Panics
    ///
    /// When it gets no session.
    pub async fn client(&self) -> Client {
        self.client_with(Setup::over(self.transport))
            .await
            .expect("a session")
    }

    /// A client that is set up otherwise.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when there is no first session.
    pub async fn client_with(&self, setup: Setup) -> Result<Client, ConnectError> {
        let ca = self.relay.ca().to_owned();
        Client::start(setup, self.link.address(), ca, self.origin.address()).await
    }

    /// Sends a GET for a path to the name `shop`.
    pub async fn get(&self, path: &str) -> Answer {
        let host = self.host();
        self.sender
            .send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await
    }

    /// Waits until the relay knows that the owner of `shop` is away; its answer then. No event of
    /// the relay tells, so it is asked until it has heard of it.
    pub async fn away(&self) -> Answer {
        soon("the relay knows that the client is away", async {
            loop {
                let answer = self.get("/is-it-away").await;
                if answer.cause() == Some("client-away") {
                    return answer;
                }
            }
        })
        .await
    }

    /// A connection on which a GET for a path was sent.
    pub async fn begin(&self, path: &str) -> Wire {
        let mut wire = self.sender.connect().await;
        let host = self.host();
        wire.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        wire
    }

    /// Sends a CloudVNO event to `/webhook`, signed.
    pub async fn event(&self, body: &str) -> Answer {
        let url = format!("https://{}/webhook", self.host());
        self.sender.send(cloudvno(&url, body, Setup::SECRET)).await
    }

    /// Host and port of the name `shop`.
    pub fn host(&self) -> String {
        format!("shop.localhost:{}", self.relay.address().port())
    }
}
