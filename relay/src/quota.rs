//! How many names a token leads at once, over all its sessions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use wire::EndpointName;

/// The names of every token that leads any.
#[derive(Debug, Default)]
pub struct Quotas {
    // A lock and not a task: held for one lookup.
    by_token: Mutex<HashMap<String, HashMap<EndpointName, u32>>>,
}

/// A name that counts against its token until dropped. Held twice, by a session and the ghost of
/// the one before it, it counts once.
#[derive(Debug)]
pub struct Claim {
    quotas: Arc<Quotas>,
    token: String,
    name: EndpointName,
}

impl Quotas {
    /// Counts `name` against `token`; `None` when the token leads `most` others already.
    pub fn claim(self: &Arc<Self>, token: &str, name: &EndpointName, most: usize) -> Option<Claim> {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let names = by_token.entry(token.to_owned()).or_default();
        if names.len() >= most && !names.contains_key(name) {
            return None;
        }
        *names.entry(name.clone()).or_insert(0) += 1;
        Some(Claim {
            quotas: Arc::clone(self),
            token: token.to_owned(),
            name: name.clone(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut by_token = self
            .quotas
            .by_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut names) = by_token.entry(self.token.clone()) else {
            return;
        };
        if let Some(count) = names.get_mut().get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.get_mut().remove(&self.name);
            }
        }
        if names.get().is_empty() {
            names.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_so_many_names_over_all_sessions() {
        let quotas = Arc::new(Quotas::default());
        let name = |text: &str| EndpointName::parse(text).unwrap();
        let first = quotas.claim("alice", &name("a"), 1).expect("the first");
        assert!(quotas.claim("alice", &name("b"), 1).is_none());
        let again = quotas.claim("alice", &name("a"), 1).expect("its own ghost");
        drop(first);
        assert!(quotas.claim("alice", &name("b"), 1).is_none());
        assert!(quotas.claim("bob", &name("b"), 1).is_some());
        drop(again);
        assert!(quotas.claim("alice", &name("b"), 1).is_some());
        assert!(quotas.by_token.lock().unwrap().is_empty());
    }
}
