//! Which provider sent a request, and whether it really did: the user's rules and secrets over
//! the signature catalogue. The only place of the client that verifies.

use capture::Received;
use sha2::{Digest, Sha256};
use signature::{Catalogue, Context, Judgement, Keys, Message, Provider, Schedule, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// What happens to a request whose signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is forwarded, and marked.
    Flag,
    /// The sender gets 401, the app never sees it.
    Reject,
}

impl OnInvalid {
    /// Whether a request with this verdict reaches the app where others are rejected.
    pub fn passes(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Valid | Verdict::None)
    }
}

/// One `--verify`: a path, and the provider that guards it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Requests whose path begins with this; empty for all.
    pub path: String,
    /// The provider's name.
    pub provider: String,
}

/// Bodies up to this size are searched for why a signature failed as they arrive: 64 MACs over
/// 64 KiB take about 10 ms. Longer ones are explained on request.
const EXPLAIN: usize = 64 * 1024;

/// Explanations a second. A stranger who sends wrong signatures must not keep the CPU busy.
const EXPLAIN_PER_SECOND: u32 = 20;

/// Recognises and verifies.
#[derive(Debug)]
pub struct Guard {
    catalogue: Catalogue,
    rules: Vec<Rule>,
    keys: BTreeMap<String, Keys>,
    /// What happens to a request whose signature is not valid.
    pub on_invalid: OnInvalid,
    /// Providers' delays are divided by this: 1, but in a demo.
    time_scale: f64,
    context: Context,
    // A lock and not a task: held for one comparison.
    budget: Mutex<(Instant, u32)>,
    /// Providers whose secret has verified a request of this run: it is the right one.
    // A lock and not a task: held for one lookup.
    proven: Mutex<BTreeSet<String>>,
}

impl Guard {
    /// `other_hosts` are names under which the sender may know this endpoint.
    pub fn new(
        catalogue: Catalogue,
        rules: Vec<Rule>,
        keys: BTreeMap<String, Keys>,
        on_invalid: OnInvalid,
        other_hosts: Vec<String>,
    ) -> Guard {
        let other_providers = keys
            .iter()
            .map(|(name, keys)| (name.clone(), keys.secrets.clone()))
            .collect();
        Guard {
            catalogue,
            rules,
            keys,
            on_invalid,
            time_scale: 1.0,
            context: Context {
                other_hosts,
                other_providers,
            },
            budget: Mutex::new((Instant::now(), 0)),
            proven: Mutex::default(),
        }
    }

    /// Expects retries after the provider's delays divided by `time_scale`, as a demo sends them.
    #[must_use]
    pub fn scaled(self, time_scale: f64) -> Guard {
        Guard { time_scale, ..self }
    }

    /// Providers that a secret is configured for.
    pub fn secrets(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// Whether the user has said what must be signed.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The keys configured for a provider.
    pub fn keys(&self, provider: &str) -> Option<&Keys> {
        self.keys.get(provider)
    }

    /// The provider that guards this path, by the longest rule; else the one whose header came.
    pub fn provider(&self, target: &str, headers: &[(&[u8], &[u8])]) -> Option<&Provider> {
        let path = target.split('?').next().unwrap_or_default();
        let seen = as_apps_see_it(path);
        let rule = self
            .rules
            .iter()
            .filter(|rule| {
                let guarded = as_apps_see_it(&rule.path);
                path.starts_with(&rule.path) || guarded == "/" || seen.starts_with(&guarded)
            })
            .max_by_key(|rule| rule.path.len());
        match rule {
            Some(rule) => self.catalogue.get(&rule.provider),
            None => self.catalogue.detect(headers),
        }
    }

    /// How long this provider waits for an answer, where it says so.
    pub fn deadline(provider: Option<&Provider>) -> Option<Duration> {
        provider.and_then(Provider::deadline)
    }

    /// Judges a whole request.
    pub fn judge(&self, provider: Option<&Provider>, message: &Message<'_>) -> Received {
        let Some(provider) = provider else {
            return Received::unknown();
        };
        let none = Keys::default();
        let keys = self.keys.get(provider.name()).unwrap_or(&none);
        let mut judgement = provider.verify(message, keys);
        let failed = matches!(
            judgement.verdict,
            Verdict::Invalid | Verdict::Missing | Verdict::Stale
        );
        if failed && message.body.len() <= EXPLAIN && self.may_explain() {
            judgement.hint = provider.explain(message, keys, &self.context);
        }
        let trusted = judgement.verdict == Verdict::Valid;
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted && !proven.contains(provider.name()) {
            proven.insert(provider.name().to_owned());
        }
        if let Some(hint) = &mut judgement.hint
            && hint.code == "wrong-secret"
            && proven.contains(provider.name())
        {
            hint.code = String::from("changed-or-forged");
            hint.sentence = String::from(
                "the secret is right, it has verified other requests: this one was changed after \
                 it was signed, or somebody else signed it",
            );
        }
        drop(proven);
        Received {
            judgement,
            provider: Some(provider.name().to_owned()),
            event: provider.event(message),
            // The same event at another address is another delivery.
            // What claims to be an event and is not proven joins only what has the same body: the
            // newest request of a delivery is the one that is replayed.
            group: provider.delivery(message).map(|group| match trusted {
                true => format!("{} {} {group}", message.method, message.url),
                false => {
                    let body = Sha256::digest(message.body);
                    let (method, url) = (message.method, message.url);
                    format!("unproven {:02x?} {method} {url} {group}", &body[..16])
                }
            }),
            schedule: match provider.schedule() {
                Schedule::Unknown => None,
                Schedule::Never => Some(Vec::new()),
                Schedule::Delays { delays, .. } => {
                    let scaled = delays.iter().map(|d| d.div_f64(self.time_scale));
                    Some(scaled.collect())
                }
            },
        }
    }

    /// What is said of a request whose body was too long to hold back, or was cut.
    pub fn unjudged(provider: &Provider, why: &str) -> Received {
        Received {
            judgement: Judgement {
                verdict: Verdict::Invalid,
                provider: Some(provider.name().to_owned()),
                why: Some(why.to_owned()),
                ..Judgement::none()
            },
            provider: Some(provider.name().to_owned()),
            ..Received::unknown()
        }
    }

    fn may_explain(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.0.elapsed() >= Duration::from_secs(1) {
            *budget = (Instant::now(), 0);
        }
        budget.1 += 1;
        budget.1 <= EXPLAIN_PER_SECOND
    }
}

/// A path as the most lenient app reads it: percent-decoded, in lower case, with `\` as `/`, without
/// path parameters, empty segments and dots. A guard that read `/%77ebhook` and `//webhook` as
/// paths of their own would be walked around.
fn as_apps_see_it(path: &str) -> String {
    let mut decoded = path.as_bytes().to_vec();
    // Some decode what was decoded already; each round makes it shorter.
    loop {
        let again = percent_decoded(&decoded);
        if again.len() == decoded.len() {
            break;
        }
        decoded = again;
    }
    let text = String::from_utf8_lossy(&decoded)
        .to_lowercase()
        .replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn percent_decoded(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                &after[2..]
            }
            _ => {
                out.push(*first);
                after
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_path_is_guarded_however_it_is_written() {
        for path in ["/webhook", "/webhook/", "/Webhook"] {
            guards(path);
        }
    }

    fn guards(path: &str) {
        let rule = Rule {
            path: path.to_owned(),
            provider: String::from("cloudvno"),
        };
        let guard = Guard::new(
            Catalogue::builtin(),
            vec![rule],
            BTreeMap::new(),
            OnInvalid::Reject,
            Vec::new(),
        );
        for target in [
            "/webhook",
            "/webhook/a?b=/c",
            "/%77ebhook",
            "/%2577ebhook/a",
            "//webhook",
            "/./webhook",
            "/x/../webhook",
            "/x/..%2fwebhook",
            "/WEBHOOK",
            "/webhook;v=1",
            "/\\webhook",
        ] {
            assert!(guard.provider(target, &[]).is_some(), "{target}");
        }
        for target in ["/", "/other", "/?/webhook", "/x/webhook"] {
            assert!(guard.provider(target, &[]).is_none(), "{target}");
        }
    }
}
