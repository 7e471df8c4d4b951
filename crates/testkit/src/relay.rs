//! The relay, its folder and its ports, which outlive the process.

use crate::process::Process;
use crate::soon;
use relay::access::new_token;
use relay::store::Store;
use relay::{Config, Relay, StartError, Tls};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Between two tries to listen on a port that is taken.
const AGAIN: Duration = Duration::from_millis(20);

/// How a relay is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelaySetup {
    /// Everybody on this machine may come in.
    Open,
    /// Clients need a token.
    Tokens,
}

/// A relay that may run, and what it leaves when it does not.
#[derive(Debug)]
pub struct RelayHouse {
    folder: TempDir,
    address: SocketAddr,
    setup: RelaySetup,
    ca: PathBuf,
    running: Option<(Relay, Process)>,
}

impl RelayHouse {
    /// Starts a relay on a port that the kernel chooses, TCP and UDP.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start(setup: RelaySetup) -> RelayHouse {
        let folder = tempfile::tempdir().expect("a folder");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut house = RelayHouse {
            folder,
            address: any,
            setup,
            ca: PathBuf::new(),
            running: None,
        };
        house.start_again().await;
        house
    }

    /// Starts it again, on the same port and folder.
    ///
    /// # Panics
    ///
    /// When it runs already, or does not start.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "the relay runs already");
        let process = Process::new("relay");
        let config = Config {
            domain: String::from("localhost"),
            listen: vec![self.address],
            state: self.folder.path().to_owned(),
            tls: Tls::SelfSigned,
            admin: None,
            open: self.setup == RelaySetup::Open,
        };
        let relay = soon("the relay's port is free", async {
            loop {
                let started = process.run(Relay::spawn(config.clone())).await;
                match started {
                    Ok(relay) => return relay,
                    // A socket of the process before, or a stranger's that was given our port
                    // meanwhile, is closed in a moment, and no event tells when.
                    Err(StartError::Listen(_, error)) if error.kind() == ErrorKind::AddrInUse => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(error) => panic!("the relay did not start: {error}"),
                }
            }
        })
        .await;
        self.address = relay.addrs()[0];
        self.ca = relay.ca().expect("a private CA").to_owned();
        self.running = Some((relay, process));
    }

    /// Ends at once, as a killed process: nobody is told.
    pub fn kill(&mut self) {
        let (relay, process) = self.running.take().expect("the relay runs");
        // The process first: what is dropped after it can send nothing.
        drop(process);
        drop(relay);
    }

    /// Ends in order; what runs has `grace` to finish.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub async fn shut_down(&mut self, grace: Duration) {
        let (relay, process) = self.running.take().expect("the relay runs");
        process.run(relay.shutdown(grace)).await;
    }

    /// The address of its TCP and UDP sockets.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate to trust.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Adds a token for names that match `pattern`.
    ///
    /// # Panics
    ///
    /// When the label is taken.
    pub fn add_token(&self, label: &str, pattern: &str) -> String {
        let (token, row) =
            new_token(label, vec![pattern.to_owned()], 0, None).expect("random bytes");
        assert!(
            self.store().add_token(&row).expect("the store"),
            "a new label"
        );
        token
    }

    /// Revokes a token by its label.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn revoke_token(&self, label: &str) {
        assert!(
            self.store().revoke_token(label).expect("the store"),
            "a token"
        );
    }

    /// The database beside the running relay, as `relay token` uses it.
    fn store(&self) -> Store {
        Store::open(self.folder.path()).expect("the store")
    }
}
