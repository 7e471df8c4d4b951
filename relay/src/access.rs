//! Who may come in, and which names they may use.

use crate::store::{Store, StoreError, TokenRow, unix_now};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wire::{EndpointName, RefusedReason};

/// What a token, or its absence on an open relay, allows.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token's public part; `None` on an open relay.
    pub id: Option<String>,
    /// The token's label; empty on an open relay.
    pub label: String,
    patterns: Vec<String>,
    /// Names at once; 0 for no bound.
    pub max_tunnels: u32,
}

impl Grant {
    /// Whether the name is among those allowed.
    pub fn allows(&self, name: &EndpointName) -> bool {
        self.patterns
            .iter()
            .any(|pattern| matches(pattern, name.as_str()))
    }

    /// A name for a client that asks for none, within the patterns, which are tried in turn.
    pub fn any_name(&self, round: u32) -> Option<EndpointName> {
        let turn = usize::try_from(round).unwrap_or(0) % self.patterns.len().max(1);
        crate::names::random_within(self.patterns.get(turn)?, round)
    }

    /// The patterns, for a message.
    pub fn patterns(&self) -> String {
        self.patterns.join(", ")
    }
}

/// A refusal with its words.
#[derive(Clone, Debug)]
pub struct Denied {
    /// The kind.
    pub reason: RefusedReason,
    /// One sentence for the person at the client.
    pub message: String,
}

/// Decides who may come in.
#[derive(Clone, Debug)]
pub struct Access {
    store: Store,
    open: bool,
    domain: String,
}

impl Access {
    /// `open` lets everybody in; the caller has made sure that only this machine reaches us.
    pub fn new(store: Store, open: bool, domain: &str) -> Access {
        Access {
            store,
            open,
            domain: domain.to_owned(),
        }
    }

    /// Judges a token. Inside, [`Denied`] when it does not open this relay.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails; nobody is let in then.
    pub async fn admit(&self, token: &str) -> Result<Result<Grant, Denied>, StoreError> {
        if self.open {
            return Ok(Ok(Grant {
                id: None,
                label: String::new(),
                patterns: vec![String::from("*")],
                max_tunnels: 0,
            }));
        }
        let denied = |reason, what: &str| {
            Ok(Err(Denied {
                reason,
                message: format!("{} {what}", self.domain),
            }))
        };
        if token.is_empty() {
            return denied(
                RefusedReason::TokenMissing,
                "asks for a token and none was given",
            );
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let row = match public_part(token) {
            Some(id) => {
                let id = id.to_owned();
                self.store.run(move |store| store.token(&id)).await?
            }
            None => None,
        };
        let Some(row) = row.filter(|row| bool::from(row.hash.ct_eq(&hash))) else {
            return denied(RefusedReason::TokenUnknown, "does not know this token");
        };
        if let Some((reason, what)) = over(&row) {
            return denied(reason, what);
        }
        Ok(Ok(Grant {
            id: Some(row.id),
            label: row.name,
            patterns: row.patterns,
            max_tunnels: row.max_tunnels,
        }))
    }

    /// Whether a grant given before still holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn still_holds(&self, grant: &Grant) -> Result<bool, StoreError> {
        let Some(id) = grant.id.clone() else {
            return Ok(true);
        };
        let row = self.store.run(move |store| store.token(&id)).await?;
        Ok(row.is_some_and(|row| over(&row).is_none()))
    }
}

fn over(row: &TokenRow) -> Option<(RefusedReason, &'static str)> {
    if row.revoked.is_some() {
        return Some((RefusedReason::TokenRevoked, "has revoked this token"));
    }
    if row.expires.is_some_and(|at| at <= unix_now()) {
        return Some((
            RefusedReason::TokenExpired,
            "does not take this token any more: it has expired",
        ));
    }
    None
}

/// A new token: its text, to be shown once, and the row that is stored.
///
/// # Errors
///
/// [`StoreError::Random`].
pub fn new_token(
    name: &str,
    patterns: Vec<String>,
    max_tunnels: u32,
    expires: Option<i64>,
) -> Result<(String, TokenRow), StoreError> {
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    let text: String = bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(b & 31)]))
        .collect();
    // 8 characters to find it by, and 32 × 5 = 160 bits that nobody can guess.
    let (id, secret) = text.split_at(8);
    let token = format!("adit_{id}_{secret}");
    let row = TokenRow {
        id: id.to_owned(),
        name: name.to_owned(),
        hash: Sha256::digest(token.as_bytes()).into(),
        patterns: if patterns.is_empty() {
            vec![String::from("*")]
        } else {
            patterns
        },
        max_tunnels,
        created: unix_now(),
        expires,
        revoked: None,
    };
    Ok((token, row))
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn public_part(token: &str) -> Option<&str> {
    let (id, _) = token.strip_prefix("adit_")?.split_once('_')?;
    (id.len() == 8).then_some(id)
}

/// Whether `pattern` matches the whole of `text`; `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, fits) in [
            ("*", "anything", true),
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("alice-*", "alice-dev", true),
            ("alice-*", "bob-dev", false),
            ("*-dev", "alice-dev", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_token_carries_its_public_part_and_is_stored_as_a_hash() {
        let (token, row) = new_token("alice", vec![], 0, None).unwrap();
        assert_eq!(public_part(&token), Some(row.id.as_str()));
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        assert_eq!(row.hash, hash);
        assert!(!format!("{row:?}").contains(&token));
    }
}
