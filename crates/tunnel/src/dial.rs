//! The client's side of the transport: from a relay's name to a session.

use crate::session::{Ended, Session};
use crate::{tcp, windows};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A relay's address as a person wrote it: a host, and a port that is 443 when none was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port, TCP and UDP.
    pub port: u16,
}

impl Target {
    /// Reads `host`, `host:port`, `1.2.3.4:port`, `[::1]:port`.
    pub fn parse(text: &str) -> Option<Target> {
        let text = text.strip_prefix("https://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Target {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            return Some(Target {
                host: ip.to_string(),
                port: 443,
            });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, 443),
        };
        let fits = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_');
        (fits && port != 0).then(|| Target {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a relay was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{0} has no address")]
    Resolve(String, #[source] io::Error),
    /// No UDP socket could be had.
    #[error("no UDP socket")]
    Socket(#[source] io::Error),
    /// Nothing answered on UDP.
    #[error("nothing answers on UDP at {0}")]
    Silent(SocketAddr),
    /// No TCP connection was had there.
    #[error("{0} does not answer on TCP")]
    Tcp(SocketAddr, #[source] io::Error),
    /// Something answered and its certificate is not trusted, or is for another name.
    #[error("the certificate of {0} is not trusted: {1}")]
    Certificate(Target, String),
    /// Something answered that is no relay.
    #[error("{0} is not an Adit relay: {1}")]
    NotARelay(Target, String),
    /// The session was lost while it was made.
    #[error(transparent)]
    Ended(Ended),
}

/// How a relay is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC, and TLS over TCP when it does not answer within [`windows::HEAD_START`]: the first
    /// that stands.
    Auto,
    /// QUIC only.
    Quic,
    /// TLS over TCP only.
    Tcp,
}

/// Makes sessions with relays. Holds what the TLS handshake needs.
#[derive(Clone)]
pub struct Dialer {
    quic: quinn::ClientConfig,
    tls: tokio_rustls::TlsConnector,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer(…)")
    }
}

impl Dialer {
    /// `tls` says which certificates are trusted; its ALPN becomes [`wire::ALPN`].
    ///
    /// # Errors
    ///
    /// When `tls` has no cipher suite for QUIC.
    pub fn new(mut tls: rustls::ClientConfig) -> io::Result<Dialer> {
        tls.alpn_protocols = vec![wire::ALPN.to_vec()];
        // 0-RTT data can be replayed by whoever saw it: never.
        tls.enable_early_data = false;
        let tls = Arc::new(tls);
        let crypto = QuicClientConfig::try_from(Arc::clone(&tls))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut quic = quinn::ClientConfig::new(Arc::new(crypto));
        quic.transport_config(Arc::new(windows::client()));
        Ok(Dialer {
            quic,
            tls: tls.into(),
        })
    }

    /// Dials the relay: every address of it in turn until one answers, each for
    /// [`windows::HANDSHAKE`].
    ///
    /// # Errors
    ///
    /// [`DialError`]: that of the first address; where both transports were tried, that of TCP,
    /// unless QUIC's tells more.
    pub async fn dial(&self, target: &Target, transport: Transport) -> Result<Session, DialError> {
        let addresses = addresses(target).await?;
        match transport {
            Transport::Quic => self.over_quic(target, &addresses).await,
            Transport::Tcp => self.over_tcp(target, &addresses).await,
            Transport::Auto => self.race(target, &addresses).await,
        }
    }

    async fn race(&self, target: &Target, addresses: &[SocketAddr]) -> Result<Session, DialError> {
        let mut quic = pin!(self.over_quic(target, addresses));
        let mut tcp = pin!(async {
            tokio::time::sleep(windows::HEAD_START).await;
            self.over_tcp(target, addresses).await
        });
        let (mut quic_failed, mut tcp_failed) = (false, None);
        loop {
            tokio::select! {
                biased;
                dialled = &mut quic, if !quic_failed => match (dialled, tcp_failed.take()) {
                    (Ok(session), _) => return Ok(session),
                    // Whoever answered there will not answer otherwise over TCP.
                    (Err(error @ (DialError::Certificate(..) | DialError::NotARelay(..))), _) => {
                        return Err(error);
                    }
                    (Err(_), Some(error)) => return Err(error),
                    (Err(_), None) => quic_failed = true,
                },
                dialled = &mut tcp, if tcp_failed.is_none() => match dialled {
                    Ok(session) => return Ok(session),
                    Err(error) if quic_failed => return Err(error),
                    Err(error) => tcp_failed = Some(error),
                },
            }
        }
    }

    async fn over_quic(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
    ) -> Result<Session, DialError> {
        let mut first = None;
        for address in addresses {
            match self.quic_address(target, *address).await {
                Ok(session) => return Ok(session),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| no_address(target)))
    }

    async fn over_tcp(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
    ) -> Result<Session, DialError> {
        let mut first = None;
        for address in addresses {
            let dialled =
                tokio::time::timeout(windows::HANDSHAKE, self.tcp_address(target, *address));
            let silent = || {
                let error = io::ErrorKind::TimedOut.into();
                Err(DialError::Tcp(*address, error))
            };
            match dialled.await.unwrap_or_else(|_| silent()) {
                Ok(session) => return Ok(session),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| no_address(target)))
    }

    async fn tcp_address(
        &self,
        target: &Target,
        address: SocketAddr,
    ) -> Result<Session, DialError> {
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| DialError::NotARelay(target.clone(), error.to_string()))?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| DialError::Tcp(address, error))?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| not_accepted(target, address, error))?;
        if stream.get_ref().1.alpn_protocol() != Some(wire::ALPN) {
            return Err(DialError::NotARelay(target.clone(), String::from(NO_ALPN)));
        }
        let connection = tcp::Connection::of_client(stream, address)
            .await
            .map_err(DialError::Ended)?;
        Ok(Session::tcp(connection))
    }

    async fn quic_address(
        &self,
        target: &Target,
        address: SocketAddr,
    ) -> Result<Session, DialError> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = quinn::Endpoint::client(local).map_err(DialError::Socket)?;
        let connecting = endpoint
            .connect_with(self.quic.clone(), address, &target.host)
            .map_err(|error| DialError::NotARelay(target.clone(), error.to_string()))?;
        let connection = match tokio::time::timeout(windows::HANDSHAKE, connecting).await {
            Err(_) => return Err(DialError::Silent(address)),
            Ok(Err(quinn::ConnectionError::TimedOut)) => return Err(DialError::Silent(address)),
            Ok(Err(quinn::ConnectionError::TransportError(error))) => {
                return Err(refused(target, &error));
            }
            Ok(Err(quinn::ConnectionError::VersionMismatch)) => {
                return Err(DialError::NotARelay(
                    target.clone(),
                    String::from("it speaks another version of QUIC"),
                ));
            }
            Ok(Err(error)) => return Err(DialError::Ended(error.into())),
            Ok(Ok(connection)) => connection,
        };
        Ok(Session::quic(connection, Some(endpoint)))
    }
}

/// At most four addresses of a relay. `localhost` and names under it are loopback, whatever a
/// resolver says (RFC 6761, 6.3).
async fn addresses(target: &Target) -> Result<Vec<SocketAddr>, DialError> {
    let host = target.host.as_str();
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, target.port).into(),
            (Ipv6Addr::LOCALHOST, target.port).into(),
        ]);
    }
    let found = tokio::net::lookup_host((host, target.port))
        .await
        .map_err(|error| DialError::Resolve(target.host.clone(), error))?;
    Ok(found.take(4).collect())
}

const NO_ALPN: &str = "it does not offer the protocol adit/1";

fn no_address(target: &Target) -> DialError {
    DialError::Resolve(target.host.clone(), io::ErrorKind::NotFound.into())
}

/// What a TLS handshake over TCP that failed says.
fn not_accepted(target: &Target, address: SocketAddr, error: io::Error) -> DialError {
    use rustls::{AlertDescription, Error};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(error @ Error::InvalidCertificate(_)) => {
            DialError::Certificate(target.clone(), error.to_string())
        }
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            DialError::NotARelay(target.clone(), String::from(NO_ALPN))
        }
        Some(error) => DialError::NotARelay(target.clone(), error.to_string()),
        None => DialError::Tcp(address, error),
    }
}

/// TLS alerts travel in QUIC as 0x100 and the alert (RFC 9001, 4.8).
fn refused(target: &Target, error: &quinn_proto::TransportError) -> DialError {
    let code = u64::from(error.code);
    let alert = code.checked_sub(0x100).filter(|alert| *alert <= 0xff);
    match alert {
        // 42 to 49: bad, unsupported, revoked, expired, unknown certificate; unknown CA.
        Some(42..=49) => DialError::Certificate(target.clone(), error.reason.clone()),
        Some(120) => DialError::NotARelay(target.clone(), String::from(NO_ALPN)),
        _ => DialError::NotARelay(target.clone(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_hosts_addresses_and_ports() {
        for (text, host, port) in [
            ("relay.example.net", "relay.example.net", 443),
            ("https://relay.example.net/", "relay.example.net", 443),
            ("Relay.example.net:8443", "relay.example.net", 8443),
            ("127.0.0.1:8443", "127.0.0.1", 8443),
            ("127.0.0.1", "127.0.0.1", 443),
            ("[::1]:8443", "::1", 8443),
            ("::1", "::1", 443),
        ] {
            assert_eq!(
                Target::parse(text),
                Some(Target {
                    host: host.into(),
                    port
                }),
                "{text}"
            );
        }
        for bad in [
            "",
            ":443",
            "a b",
            "host:0",
            "host:99999",
            "http://host",
            "host/path",
        ] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }
}
