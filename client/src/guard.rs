//! Which provider sent a request, and whether it really did: the user's rules and secrets over
//! the signature catalogue. The only place of the client that verifies.

use capture::Received;
use signature::{Catalogue, Context, Judgement, Keys, Message, Provider, Schedule, Verdict};
use std::collections::BTreeMap;
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
    context: Context,
    // A lock and not a task: held for one comparison.
    budget: Mutex<(Instant, u32)>,
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
            context: Context {
                other_hosts,
                other_providers,
            },
            budget: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Providers that a secret is configured for.
    pub fn secrets(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
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
        let rule = self
            .rules
            .iter()
            .filter(|rule| path.starts_with(&rule.path))
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
        Received {
            judgement,
            provider: Some(provider.name().to_owned()),
            event: provider.event(message),
            group: provider.delivery(message),
            schedule: match provider.schedule() {
                Schedule::Unknown => None,
                Schedule::Never => Some(Vec::new()),
                Schedule::Delays { delays, .. } => Some(delays.clone()),
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
