//! The relay inside the client: no server, no account, nothing to set up. The same library, the
//! same tunnel, on loopback.

use crate::failure::{Exit, Failure};
use relay::{Config, Relay, StartError, Tls};
use std::net::SocketAddr;
use std::path::Path;

/// Tried when no address was asked for and the usual one is taken.
const TRIES: u16 = 100;

/// The usual address.
pub const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);

/// Starts a relay on loopback: on `asked`, or on the first free port from 8443 on.
///
/// # Errors
///
/// When the address is taken or not of this machine, or the state folder is of no use.
pub async fn start(state: &Path, asked: Option<SocketAddr>) -> Result<Relay, Failure> {
    let first = asked.unwrap_or(DEFAULT);
    let last = match asked {
        Some(_) => first.port(),
        None => first.port() + TRIES,
    };
    let mut failed = None;
    for port in first.port()..=last {
        let config = Config {
            domain: String::from("localhost"),
            listen: vec![SocketAddr::new(first.ip(), port)],
            state: state.to_owned(),
            tls: Tls::SelfSigned,
            admin: None,
            open: true,
        };
        match Relay::spawn(config).await {
            Ok(relay) => return Ok(relay),
            Err(error) => {
                let taken = matches!(
                    &error,
                    StartError::Listen(_, source)
                        if source.kind() == std::io::ErrorKind::AddrInUse
                );
                failed = Some(error);
                if !taken {
                    break;
                }
            }
        }
    }
    let Some(error) = failed else {
        return Err(Failure::new(
            Exit::Failed,
            "the embedded relay did not start",
        ));
    };
    let failure = match &error {
        StartError::Store(_) | StartError::Tls(_) => Exit::Configuration,
        StartError::OpenToAll(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Err(Failure::from_error(failure, &error).hint(match &error {
        StartError::Listen(address, _) => format!(
            "see who holds it with: ss -lntup 'sport = :{}', or choose another with --embedded-listen",
            address.port()
        ),
        StartError::OpenToAll(_) => {
            String::from("the embedded relay asks for no token, so it listens on 127.0.0.1 only")
        }
        _ => format!("it keeps its state in {}", state.display()),
    }))
}
