//! What the client is told by its config file: `<config folder>/adit/client.toml`.
//!
//! Flags win over the environment, the environment over this file. Secrets stand in it only as
//! sources, such as `env:NAME`.

use crate::failure::{Exit, Failure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The config file: every key may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The relay to dial.
    pub relay: Option<String>,
    /// A private CA to trust for it.
    pub relay_ca: Option<PathBuf>,
    /// Where the token comes from.
    pub token: Option<String>,
    /// The local inspector's address, or `off`.
    pub inspect: Option<String>,
    /// The folder of recorded requests, or `off`.
    pub store: Option<String>,
    /// Where a provider's secret comes from, by provider.
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
    /// Tunnels by name.
    #[serde(default)]
    pub tunnel: BTreeMap<String, Tunnel>,
}

/// `[tunnel.NAME]`: used by `client http` when the origin is the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// The app.
    pub origin: String,
    /// The public name.
    pub name: Option<String>,
    /// What the relay does while this client is away; only `refuse` for now.
    pub offline: Option<String>,
    /// Which provider guards which path.
    #[serde(default)]
    pub verify: Vec<Verify>,
}

/// `[[tunnel.NAME.verify]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Paths that begin with this; all when missing.
    pub path: Option<String>,
    /// The provider.
    pub provider: String,
    /// Where its secret comes from.
    pub secret: Option<String>,
    /// `flag` or `reject`.
    pub on_invalid: Option<String>,
}

const KEYS: [&str; 14] = [
    "relay",
    "relay_ca",
    "token",
    "inspect",
    "store",
    "secret",
    "tunnel",
    "origin",
    "name",
    "offline",
    "verify",
    "path",
    "provider",
    "on_invalid",
];

impl File {
    /// Where the file is: `$XDG_CONFIG_HOME/adit/client.toml`, else under `~/.config`.
    pub fn path() -> Option<PathBuf> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let folder =
            variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
        Some(folder.join("adit/client.toml"))
    }

    /// Reads the file; nothing is set when it is not there.
    ///
    /// # Errors
    ///
    /// With the line, and the nearest known key for an unknown one.
    pub fn read() -> Result<File, Failure> {
        match File::path() {
            Some(path) if path.exists() => File::at(&path),
            _ => Ok(File::default()),
        }
    }

    /// Reads the file at a given place.
    ///
    /// # Errors
    ///
    /// As [`File::read`].
    pub fn at(path: &Path) -> Result<File, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Exit::Configuration, format!("{shown} cannot be read")).because(&error)
        })?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let at = line.map_or_else(String::new, |line| format!(":{line}"));
            let failure = Failure::new(
                Exit::Configuration,
                format!("{shown}{at}: {}", error.message()),
            );
            match nearest(error.message()) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        for (name, tunnel) in &file.tunnel {
            if let Some(offline) = &tunnel.offline
                && offline != "refuse"
            {
                return Err(Failure::new(
                    Exit::Configuration,
                    format!("{shown}: tunnel {name:?} has offline = {offline:?}, which this version does not know"),
                )
                .hint("only offline = \"refuse\" works: the relay answers 503 while the client is away"));
            }
        }
        Ok(file)
    }
}

/// The known key nearest to the one that a message says is unknown.
fn nearest(message: &str) -> Option<String> {
    let unknown = message.strip_prefix("unknown field `")?.split('`').next()?;
    let nearest = KEYS
        .into_iter()
        .min_by_key(|key| strsim::damerau_levenshtein(unknown, key))?;
    Some(format!("did you mean {nearest}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, Failure> {
        let folder = std::env::temp_dir().join(format!("adit-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.toml", text.len()));
        std::fs::write(&path, text).unwrap();
        let file = File::at(&path);
        std::fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn the_contracts_example_is_read() {
        let file = read(
            "relay = \"tunnel.example.dev\"\ntoken = \"env:ADIT\"\n[tunnel.shop]\n\
             origin = \"http://localhost:3000\"\nname = \"shop\"\n[[tunnel.shop.verify]]\n\
             path = \"/webhook\"\nprovider = \"cloudvno\"\nsecret = \"env:X\"\non_invalid = \"reject\"\n",
        )
        .unwrap();
        assert_eq!(file.relay.as_deref(), Some("tunnel.example.dev"));
        assert_eq!(file.tunnel["shop"].verify[0].provider, "cloudvno");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
        let failure = read("token = \"x\"\nrealy = \"y\"\n").unwrap_err();
        assert!(
            failure.error.contains(":2: unknown field `realy`"),
            "{}",
            failure.error
        );
        assert_eq!(failure.hint.as_deref(), Some("did you mean relay?"));
        assert_eq!(failure.exit, Exit::Configuration);
    }
}
