//! The client's side of the transport: from a relay's name to a session.

use crate::session::{Ended, Session};
use crate::windows;
use quinn::crypto::rustls::QuicClientConfig;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

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

/// Makes sessions with relays. Holds what the TLS handshake needs.
#[derive(Clone, Debug)]
pub struct Dialer {
    config: quinn::ClientConfig,
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
        let crypto = QuicClientConfig::try_from(Arc::new(tls))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(windows::client()));
        Ok(Dialer { config })
    }

    /// Dials every address of the relay in turn until one answers, each for
    /// [`windows::HANDSHAKE`].
    ///
    /// # Errors
    ///
    /// Those of the first address.
    pub async fn dial(&self, target: &Target) -> Result<Session, DialError> {
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((target.host.as_str(), target.port))
                .await
                .map_err(|error| DialError::Resolve(target.host.clone(), error))?
                .take(4)
                .collect();
        let mut first = None;
        for address in addresses {
            match self.dial_address(target, address).await {
                Ok(session) => return Ok(session),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| {
            DialError::Resolve(target.host.clone(), io::ErrorKind::NotFound.into())
        }))
    }

    async fn dial_address(
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
            .connect_with(self.config.clone(), address, &target.host)
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
        Ok(Session::new(connection, Some(endpoint)))
    }
}

/// TLS alerts travel in QUIC as 0x100 and the alert (RFC 9001, 4.8).
fn refused(target: &Target, error: &quinn_proto::TransportError) -> DialError {
    let code = u64::from(error.code);
    let alert = code.checked_sub(0x100).filter(|alert| *alert <= 0xff);
    match alert {
        // 42 to 49: bad, unsupported, revoked, expired, unknown certificate; unknown CA.
        Some(42..=49) => DialError::Certificate(target.clone(), error.reason.clone()),
        Some(120) => DialError::NotARelay(
            target.clone(),
            String::from("it does not offer the protocol adit/1"),
        ),
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
