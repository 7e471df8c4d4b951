//! What the client keeps on the laptop: its key, its names, and the way to a running client.

use crate::failure::{Exit, Failure};
use relay::store::{private_file, private_folder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tunnel::ClientKey;

/// The client's folder, which is there and can be written.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The platform's data folder: `$XDG_DATA_HOME/adit`, `~/.local/share/adit`, or on macOS
    /// `~/Library/Application Support/adit`.
    ///
    /// # Errors
    ///
    /// When there is no home, or the folder cannot be made or written.
    pub fn open() -> Result<State, Failure> {
        let folder = default_folder().ok_or_else(|| {
            Failure::new(Exit::Configuration, "there is no folder to keep state in")
                .hint("set HOME, or XDG_DATA_HOME")
        })?;
        State::at(folder)
    }

    /// A state folder at a given place.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written.
    pub fn at(folder: PathBuf) -> Result<State, Failure> {
        let state = State { folder };
        let probe = state.folder.join(".probe");
        private_folder(&state.folder)
            .and_then(|()| private_file(&probe))
            .and_then(|_| std::fs::remove_file(&probe))
            .map_err(|error| unwritable(&state.folder, &error))?;
        Ok(state)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the embedded relay keeps its state.
    pub fn embedded_relay(&self) -> PathBuf {
        self.folder.join("embedded-relay")
    }

    /// The client's key, made on first use.
    ///
    /// # Errors
    ///
    /// When it cannot be kept, or what is kept is no key.
    pub fn key(&self) -> Result<ClientKey, Failure> {
        let path = self.folder.join("client.key");
        if !path.exists() {
            let fresh = ClientKey::generate().map_err(|_| {
                Failure::new(
                    Exit::Failed,
                    "the system gave no random bytes for the client's key",
                )
            })?;
            // Two clients may start at once: the first link wins, both read the same key.
            let mine = self
                .folder
                .join(format!("client.key.{}", std::process::id()));
            write_private(&mine, &fresh).map_err(|error| unwritable(&mine, &error))?;
            let linked = std::fs::hard_link(&mine, &path);
            let _ = std::fs::remove_file(&mine);
            if let Err(error) = linked
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(unwritable(&path, &error));
            }
        }
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::new(
                Exit::Configuration,
                format!("{} cannot be read", path.display()),
            )
            .because(&error)
        })?;
        ClientKey::from_pkcs8(&bytes).ok_or_else(|| {
            Failure::new(Exit::Configuration, format!("{} is damaged", path.display()))
                .hint("move it away; a new key is made, and names held with the old one stay taken for a week")
        })
    }

    /// The name this client had at a relay for an origin, when it had one.
    pub fn name(&self, relay: &str, origin: &str) -> Option<String> {
        self.names().remove(&format!("{relay} {origin}"))
    }

    /// Remembers a name. Failing to is not worth stopping for: the name may be another next time.
    pub fn remember_name(&self, relay: &str, origin: &str, name: &str) {
        let mut names = self.names();
        let before = names.insert(format!("{relay} {origin}"), name.to_owned());
        if before.as_deref() == Some(name) {
            return;
        }
        let fresh = self
            .folder
            .join(format!("names.json.{}", std::process::id()));
        let written = serde_json::to_vec_pretty(&names)
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_private(&fresh, &bytes))
            .and_then(|()| std::fs::rename(&fresh, self.folder.join("names.json")));
        if let Err(error) = written {
            tracing::warn!(%error, "the name is not remembered");
        }
    }

    fn names(&self) -> BTreeMap<String, String> {
        std::fs::read(self.folder.join("names.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }
}

fn default_folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Some(data.join("adit"));
    }
    let home = variable("HOME")?;
    Some(match cfg!(target_os = "macos") {
        true => home.join("Library/Application Support/adit"),
        false => home.join(".local/share/adit"),
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Configuration, format!("{} cannot be written", path.display()))
        .because(error)
        .hint("make it yours, or choose another place with XDG_DATA_HOME (and --store for recorded requests)")
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = private_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How commands in other terminals find a running client and are let in by it: a file beside the
/// record of deliveries that the client keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// The local API.
    pub address: SocketAddr,
    /// What a caller shows to be let in.
    pub token: String,
    /// The process.
    pub pid: u32,
    /// The public name and URL, once known.
    pub name: Option<String>,
    /// See `name`.
    pub url: Option<String>,
    /// Where its requests go.
    #[serde(default)]
    pub origin: String,
    /// The certificate to trust for `url`, when it is a private CA's.
    pub ca: Option<PathBuf>,
}

/// Keeps the file of a running client until dropped.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
}

impl Running {
    fn files(folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut files: Vec<(std::time::SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("running-") && name.ends_with(".json")
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        files.into_iter().rev().map(|(_, path)| path).collect()
    }

    /// Every client that left its file in `folder`, newest first, with the file. Some may be gone:
    /// asking tells. An address that is not of this machine is no client of ours.
    pub fn all(folder: &Path) -> Vec<(PathBuf, Running)> {
        Running::files(folder)
            .into_iter()
            .filter_map(|path| {
                let running: Running = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
                running
                    .address
                    .ip()
                    .is_loopback()
                    .then_some((path, running))
            })
            .collect()
    }

    /// Writes the file, only for this user to read.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn announce(&self, folder: &Path) -> std::io::Result<Announced> {
        let path = folder.join(format!("running-{}.json", self.pid));
        let fresh = path.with_extension("new");
        write_private(&fresh, &serde_json::to_vec(self)?)?;
        std::fs::rename(&fresh, &path)?;
        Ok(Announced { path })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
