//! The relay's side of the transport: a UDP socket that accepts sessions.

use crate::session::{Ended, Session};
use crate::windows;
use quinn::crypto::rustls::QuicServerConfig;
use quinn_proto::HashedConnectionIdGenerator;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// Keys that outlive a relay process, so that a restarted relay can tell old peers at once that
/// their sessions are gone (RFC 9000, 10.3), and honours address tokens it gave before.
#[derive(Clone)]
pub struct ListenerSecrets {
    /// For stateless resets.
    pub reset: [u8; 32],
    /// For address validation tokens.
    pub token: [u8; 32],
    /// For connection ids that this relay recognises as its own.
    pub connection_id: u64,
}

impl std::fmt::Debug for ListenerSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ListenerSecrets(…)")
    }
}

/// A UDP socket that accepts sessions.
#[derive(Clone, Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
}

impl Listener {
    /// Accepts sessions on `socket`. `tls` must offer [`wire::ALPN`] and TLS 1.3.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used, or `tls` has no cipher suite for QUIC.
    pub fn bind(
        socket: UdpSocket,
        tls: Arc<rustls::ServerConfig>,
        secrets: &ListenerSecrets,
    ) -> io::Result<Listener> {
        let mut endpoint_config = quinn::EndpointConfig::new(Arc::new(ring::hmac::Key::new(
            ring::hmac::HMAC_SHA256,
            &secrets.reset,
        )));
        let cid = secrets.connection_id;
        endpoint_config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid)));
        let crypto =
            QuicServerConfig::try_from(tls).map_err(|error| io::Error::other(error.to_string()))?;
        let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"adit address tokens")
            .extract(&secrets.token);
        let mut server = quinn::ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
        server
            .transport_config(Arc::new(windows::relay()))
            .migration(true)
            .max_incoming(1024);
        let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("no tokio here"))?;
        let endpoint = quinn::Endpoint::new(endpoint_config, Some(server), socket, runtime)?;
        Ok(Listener { endpoint })
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// When the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Waits for the next peer whose address is proven; `None` once the listener is closed.
    ///
    /// A peer that has not shown that it receives at its address gets a Retry (RFC 9000, 8.1.2)
    /// and nothing else: 96 bytes for the 1,200 it sent, and no memory here.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if incoming.remote_address_validated() {
                return Some(Incoming(incoming));
            }
            if incoming.may_retry() {
                let _ = incoming.retry();
            } else {
                incoming.refuse();
            }
        }
    }

    /// Waits until every session is over.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// Ends every session and accepts no more.
    pub fn close(&self, code: wire::close::Close, reason: &str) {
        self.endpoint
            .close(quinn::VarInt::from_u32(code.0), reason.as_bytes());
    }

    /// Accepts no new sessions; those that stand go on.
    pub fn stop_accepting(&self) {
        self.endpoint.set_server_config(None);
    }
}

/// A peer with a proven address, before its TLS handshake.
#[derive(Debug)]
pub struct Incoming(quinn::Incoming);

impl Incoming {
    /// Where it comes from.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Completes the TLS handshake.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the peer does not.
    pub async fn establish(self) -> Result<Session, Ended> {
        let connection = self.0.accept()?.await?;
        Ok(Session::quic(connection, None))
    }

    /// Turns the peer away without a handshake.
    pub fn refuse(self) {
        self.0.refuse();
    }
}
