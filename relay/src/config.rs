//! What a relay is told: from flags, then from the environment, then from a file, then defaults.

use crate::tls::Tls;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A relay's settings, with nothing left to guess.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names live at `NAME.domain`.
    pub domain: String,
    /// TCP and UDP, both; at least one.
    pub listen: Vec<SocketAddr>,
    /// The folder of everything that is kept.
    pub state: PathBuf,
    /// Where the certificate comes from.
    pub tls: Tls,
    /// The operator's listener; `None` for none.
    pub admin: Option<SocketAddr>,
    /// Whether clients need no token; only on loopback.
    pub open: bool,
}

/// The config file: every key may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// See [`Config::domain`].
    pub domain: Option<String>,
    /// See [`Config::listen`].
    pub listen: Option<Vec<SocketAddr>>,
    /// See [`Config::state`].
    pub state: Option<PathBuf>,
    /// `files` or `self-signed`.
    pub tls: Option<String>,
    /// With `tls = "files"`.
    pub cert: Option<PathBuf>,
    /// With `tls = "files"`.
    pub key: Option<PathBuf>,
    /// An address, or `off`.
    pub admin: Option<String>,
    /// See [`Config::open`].
    pub open: Option<bool>,
}

const KEYS: [&str; 8] = [
    "domain", "listen", "state", "tls", "cert", "key", "admin", "open",
];

/// What is wrong with a config file, ready to be shown.
#[derive(Debug, thiserror::Error)]
#[error("{path}{at}: {what}")]
pub struct FileError {
    path: String,
    at: String,
    what: String,
    /// What to do about it, where we know.
    pub hint: Option<String>,
}

impl File {
    /// Reads a config file.
    ///
    /// # Errors
    ///
    /// [`FileError`] with the line, and the nearest known key for an unknown one.
    pub fn read(path: &Path) -> Result<File, FileError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| FileError {
            path: shown.clone(),
            at: String::new(),
            what: error.to_string(),
            hint: None,
        })?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            FileError {
                path: shown,
                at: line.map_or_else(String::new, |line| format!(":{line}")),
                what: error.message().to_owned(),
                hint: nearest(error.message()),
            }
        })
    }
}

/// The known key nearest to the one that a message says is unknown.
fn nearest(message: &str) -> Option<String> {
    let unknown = message.strip_prefix("unknown field `")?.split('`').next()?;
    let nearest = KEYS
        .into_iter()
        .min_by_key(|key| strsim::damerau_levenshtein(unknown, key))?;
    Some(format!(
        "did you mean {nearest}? The keys are: {}",
        KEYS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/relay.toml");

    #[test]
    fn the_example_parses_as_shipped() {
        let file: File = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(file.domain.as_deref(), Some("tunnel.example.dev"));
        assert_eq!(file.open, None);
    }

    #[test]
    fn the_example_parses_with_every_line_uncommented_and_leaves_no_key_out() {
        let text = uncommented(EXAMPLE);
        toml::from_str::<File>(&text).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        for key in KEYS {
            assert!(table.contains_key(key), "{key} is not in the example");
        }
    }

    /// `#key = value` becomes `key = value`; prose begins with `# ` and stays a comment.
    fn uncommented(text: &str) -> String {
        text.lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect()
    }
}
