//! The developer's app: where it is, and connections to it.

use bytes::BytesMut;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long a connection to the app may be tried. A dead address on another machine would
/// otherwise hold the sender for minutes.
const CONNECT: Duration = Duration::from_secs(5);

/// An idle connection is used again for so long. Apps close theirs after 2 s (gunicorn) to 5 s
/// (Node, uvicorn); a request on a connection that the app is closing would be lost, and must not
/// be sent twice.
const IDLE: Duration = Duration::from_secs(1);

/// Idle connections kept.
const MOST_IDLE: usize = 64;

/// Where the app listens: `3000`, `host:3000` or `http://host:3000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads what a person writes after `client http`.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Address, String> {
        for scheme in ["https://", "h2c://", "unix:", "file://"] {
            if text.starts_with(scheme) {
                return Err(format!("{scheme} apps are not supported yet, only http://"));
            }
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let bad = || format!("{text:?} is not a port, host:port or http://host:port");
        if let Ok(port) = rest.parse::<u16>() {
            return match port {
                0 => Err(bad()),
                port => Ok(Address {
                    host: String::from("localhost"),
                    port,
                }),
            };
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => {
                (host, port.parse().ok().filter(|p| *p != 0).ok_or_else(bad)?)
            }
            _ if text.starts_with("http://") => (rest, 80),
            _ => return Err(bad()),
        };
        let host = host.trim_matches(['[', ']']);
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || !host.chars().all(fits) {
            return Err(bad());
        }
        Ok(Address {
            host: host.to_owned(),
            port,
        })
    }

    /// Host and port, as a Host field has them.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

/// A connection to the app.
#[derive(Debug)]
pub struct Connection {
    /// From the app.
    pub read: OwnedReadHalf,
    /// To the app.
    pub write: OwnedWriteHalf,
    /// What was read and not yet taken.
    pub buf: BytesMut,
}

/// Acknowledges at once what has come of an answer that goes on.
///
/// Many development servers (Python's, Ruby's) write head and body apart and leave Nagle's
/// algorithm on: the body waits for the head's acknowledgement, and the kernel delays that by
/// 40 ms. Measured with Python's `http.server`: 44 ms a request without, 2 ms with.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn acknowledge(read: &OwnedReadHalf) {
    // Failing to makes it slower, not wrong.
    let _ = socket2::SockRef::from(read.as_ref()).set_tcp_quickack(true);
}

/// Other systems offer no way to ask for it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn acknowledge(_read: &OwnedReadHalf) {}

/// The app and its idle connections.
#[derive(Debug)]
pub struct Origin {
    address: Address,
    // A lock and not a task: held for one push or pop.
    idle: Arc<Mutex<Vec<(Connection, Instant)>>>,
}

impl Origin {
    /// Nothing is connected yet.
    pub fn new(address: Address) -> Origin {
        Origin {
            address,
            idle: Arc::default(),
        }
    }

    /// Where the app is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// An idle connection that still stands, or a new one.
    ///
    /// # Errors
    ///
    /// When nothing listens there, or the address leads nowhere.
    pub async fn connect(&self) -> io::Result<Connection> {
        if let Some(connection) = self.idle_connection() {
            return Ok(connection);
        }
        let (host, port) = (self.address.host.as_str(), self.address.port);
        let connect = async {
            match host {
                // RFC 6761, 6.3: localhost is loopback, whatever a resolver says. Asking none also
                // saves a trip to another thread.
                "localhost" => {
                    let loopback: [SocketAddr; 2] = [
                        (Ipv4Addr::LOCALHOST, port).into(),
                        (Ipv6Addr::LOCALHOST, port).into(),
                    ];
                    TcpStream::connect(&loopback[..]).await
                }
                host => TcpStream::connect((host, port)).await,
            }
        };
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Connection {
            read,
            write,
            buf: BytesMut::new(),
        })
    }

    /// Whether anything listens there now.
    ///
    /// # Errors
    ///
    /// What a connection failed with.
    pub async fn probe(&self) -> io::Result<()> {
        // Not kept: a server of one thread would wait for a request on it.
        self.connect().await.map(drop)
    }

    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() > IDLE {
                // The others have been idle for longer.
                idle.clear();
                return None;
            }
            // A connection that the app has closed, or spoken on unasked, can be read.
            let mut probe = [0];
            let untouched = connection
                .read
                .try_read(&mut probe)
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            if untouched {
                return Some(connection);
            }
        }
        None
    }

    /// Closes connections that have been idle for too long: an app of one thread, as many
    /// development servers are, waits on them and serves nobody else.
    pub fn close_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() <= IDLE);
    }

    /// Gives a connection back whose last answer has ended and which the app keeps open.
    pub fn give_back(&self, connection: Connection) {
        self.close_idle();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE && connection.buf.is_empty() {
            idle.push((connection, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_ports_hosts_or_urls() {
        for (text, shown) in [
            ("3000", "http://localhost:3000"),
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("app:80", "http://app:80"),
            ("http://app:8080/", "http://app:8080"),
            ("http://app", "http://app:80"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in [
            "",
            "0",
            "70000",
            "app",
            "app:x",
            "https://app",
            "http://a b:1",
            "unix:/x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
