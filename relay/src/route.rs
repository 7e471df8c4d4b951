//! Where a public name leads: here, or to a client that is away. A memory read on the hot path.

use crate::shares::Shares;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use wire::EndpointName;

/// One attached client.
#[derive(Debug)]
pub struct Attached {
    /// Grows with every session: of two, the higher one is newer.
    pub id: u64,
    /// The client's public key.
    pub key: [u8; 32],
    /// The way to it.
    pub session: tunnel::Session,
    /// Who holds how much of it.
    pub shares: Arc<Shares>,
}

/// Where a name leads.
#[derive(Clone, Debug)]
pub enum Route {
    /// To a client of this relay.
    Here(Arc<Attached>),
    /// Its owner is not connected.
    Away,
}

/// All names and where they lead.
#[derive(Debug, Default)]
pub struct Routes {
    // A lock and not a task: every request reads it, for the time of one lookup.
    names: RwLock<HashMap<EndpointName, Route>>,
}

impl Routes {
    /// Where `name` leads; `None` when nobody owns it.
    pub fn get(&self, name: &EndpointName) -> Option<Route> {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Says that `name` has an owner who is away, unless it leads somewhere.
    pub fn away(&self, name: EndpointName) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.entry(name).or_insert(Route::Away);
    }

    /// Forgets the names that are away and whose owner `keep` does not know any more.
    pub fn forget(&self, keep: &HashSet<EndpointName>) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.retain(|name, route| matches!(route, Route::Here(_)) || keep.contains(name));
    }

    /// Leads `name` to `attached` until the guard is dropped. Returns the client it led to before.
    ///
    /// # Errors
    ///
    /// The attached client, when it has another key or is newer.
    pub fn bind(
        self: &Arc<Self>,
        name: EndpointName,
        attached: Arc<Attached>,
    ) -> Result<(Bound, Option<Arc<Attached>>), Arc<Attached>> {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let before = match names.get(&name) {
            Some(Route::Here(other)) if other.key != attached.key || other.id > attached.id => {
                return Err(Arc::clone(other));
            }
            Some(Route::Here(other)) if other.id != attached.id => Some(Arc::clone(other)),
            _ => None,
        };
        let session = attached.id;
        names.insert(name.clone(), Route::Here(attached));
        Ok((
            Bound {
                routes: Arc::clone(self),
                name,
                session,
            },
            before,
        ))
    }
}

/// Keeps a name leading to a session until dropped; then its owner is away. A guard left over from
/// an older session does not touch its successor's route.
#[derive(Debug)]
pub struct Bound {
    routes: Arc<Routes>,
    name: EndpointName,
    session: u64,
}

impl Bound {
    /// The name.
    pub fn name(&self) -> &EndpointName {
        &self.name
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut names = self
            .routes
            .names
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(names.get(&self.name), Some(Route::Here(at)) if at.id == self.session) {
            names.insert(self.name.clone(), Route::Away);
        }
    }
}

/// The names that requests come to: one label before the domain.
#[derive(Clone, Debug)]
pub struct Domain {
    domain: String,
    port: u16,
}

impl Domain {
    /// Names live at `NAME.domain`, and the public reaches them at `port`.
    pub fn new(domain: &str, port: u16) -> Domain {
        Domain {
            domain: domain.trim_end_matches('.').to_ascii_lowercase(),
            port,
        }
    }

    /// The domain itself.
    pub fn as_str(&self) -> &str {
        &self.domain
    }

    /// The name of an authority such as `brave-otter.example.dev:8443`; `None` when it is not one
    /// label under this domain.
    pub fn name(&self, authority: &str) -> Option<EndpointName> {
        let host = match authority.rsplit_once(':') {
            Some((host, _)) => host,
            None => authority,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let label = host.strip_suffix(&self.domain)?.strip_suffix('.')?;
        EndpointName::parse(label).ok()
    }

    /// The public URL of a name, without a final slash; the port unless it is 443.
    pub fn url(&self, name: &EndpointName) -> String {
        match self.port {
            443 => format!("https://{name}.{}", self.domain),
            port => format!("https://{name}.{}:{port}", self.domain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_label_under_the_domain() {
        let domain = Domain::new("example.dev", 8443);
        let name = |authority| domain.name(authority).map(|name| name.to_string());
        assert_eq!(name("brave-otter.example.dev"), Some("brave-otter".into()));
        assert_eq!(
            name("Brave-Otter.EXAMPLE.dev:8443"),
            Some("brave-otter".into())
        );
        assert_eq!(
            name("brave-otter.example.dev.:1"),
            Some("brave-otter".into())
        );
        for other in [
            "example.dev",
            "a.b.example.dev",
            "brave.example.com",
            "xexample.dev",
            "",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
        let url = domain.url(&EndpointName::parse("shop").unwrap());
        assert_eq!(url, "https://shop.example.dev:8443");
        assert_eq!(
            Domain::new("example.dev", 443).url(&EndpointName::parse("shop").unwrap()),
            "https://shop.example.dev"
        );
    }
}
