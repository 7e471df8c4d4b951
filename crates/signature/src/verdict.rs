//! What verification concluded, in the words that every face shows.

use serde::{Deserialize, Serialize};

/// One word for the outcome of verifying one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The signature matches and is fresh, or the scheme has no tolerance.
    Valid,
    /// A signature came and no secret matches it, or it cannot be read.
    Invalid,
    /// The signature matches; its timestamp lies outside the tolerance.
    Stale,
    /// The scheme expects a header or a field that did not come.
    Missing,
    /// The provider was recognised and no secret is configured for it.
    NoSecret,
    /// There was nothing to check.
    None,
}

impl Verdict {
    /// The word as it stands in NDJSON, in the store and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::Stale => "stale",
            Verdict::Missing => "missing",
            Verdict::NoSecret => "no-secret",
            Verdict::None => "none",
        }
    }

    /// The verdict of a word written by [`Verdict::as_str`].
    pub fn parse(word: &str) -> Option<Verdict> {
        Some(match word {
            "valid" => Verdict::Valid,
            "invalid" => Verdict::Invalid,
            "stale" => Verdict::Stale,
            "missing" => Verdict::Missing,
            "no-secret" => Verdict::NoSecret,
            "none" => Verdict::None,
            _ => return None,
        })
    }
}

/// A verdict with everything a person wants to know about it. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The conclusion.
    pub verdict: Verdict,
    /// The provider whose scheme was applied or recognised, such as `cloudvno`.
    pub provider: Option<String>,
    /// One sentence: why. `None` only for [`Verdict::Valid`] and [`Verdict::None`].
    pub why: Option<String>,
    /// Which reading of the scheme matched, where a scheme has several; `None` for the usual one.
    pub reading: Option<String>,
    /// Which configured secret matched, counted from 1 in the order of the configuration.
    pub secret: Option<usize>,
    /// What would match, when a hypothesis explains the failure.
    pub hint: Option<Hint>,
}

impl Judgement {
    /// Nothing to check: no scheme configured and none recognised.
    pub fn none() -> Judgement {
        Judgement {
            verdict: Verdict::None,
            provider: None,
            why: None,
            reading: None,
            secret: None,
            hint: None,
        }
    }
}

/// A hypothesis that explains a failed signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// A stable code, such as `url-scheme-http`.
    pub code: String,
    /// One sentence: what would match, and what to do.
    pub sentence: String,
}
