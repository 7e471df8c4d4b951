//! Which provider guards which path, and with which secrets: from flags, then the environment,
//! then the config file. What comes of it is a [`Guard`].

use crate::commands::http::Http;
use crate::config::{File, Tunnel};
use crate::failure::{Exit, Failure};
use crate::guard::{Guard, OnInvalid, Rule};
use crate::origin::Address;
use crate::secrets;
use signature::{Catalogue, Keys, Secret};
use std::collections::BTreeMap;

/// The guard that flags, environment and config file describe.
///
/// # Errors
///
/// When they make no sense together, or a secret's source has nothing.
pub fn guard(flags: &Http, file: &File, tunnel: Option<&Tunnel>) -> Result<Guard, Failure> {
    let catalogue = Catalogue::builtin();
    let known = |name: &str| match catalogue.get(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(unknown_provider(&catalogue, name)),
    };
    let mut rules = Vec::new();
    for rule in &flags.verify {
        let (path, provider) = match rule.split_once('=') {
            Some((path, provider)) => (path.to_owned(), known(provider)?),
            None => (String::new(), known(rule)?),
        };
        rules.push(Rule { path, provider });
    }
    let mut sources: Vec<(String, String)> = Vec::new();
    for secret in &flags.secret {
        let named = secret
            .split_once('=')
            .filter(|(name, _)| catalogue.get(name).is_some());
        if let (None, Some((name, _))) = (named, secret.split_once('=')) {
            refuse_slip(&catalogue, name)?;
        }
        match (named, rules.as_slice()) {
            (Some((provider, source)), _) => sources.push((provider.to_owned(), source.to_owned())),
            // One provider is checked: the secret is its.
            (None, [only]) => sources.push((only.provider.clone(), secret.clone())),
            (None, []) => sources.push((String::from("cloudvno"), secret.clone())),
            (None, _) => {
                return Err(Failure::new(
                    Exit::Usage,
                    "it is not clear whose secret --secret gives",
                )
                .hint("say it as in --secret stripe=env:STRIPE_SECRET"));
            }
        }
    }
    let mut on_invalid = flags.on_invalid.clone();
    if rules.is_empty()
        && let Some(tunnel) = tunnel
    {
        for verify in &tunnel.verify {
            let path = verify.path.clone().unwrap_or_default();
            rules.push(Rule {
                path,
                provider: known(&verify.provider)?,
            });
            if let Some(source) = &verify.secret {
                sources.push((verify.provider.clone(), source.clone()));
            }
            on_invalid = on_invalid.or(verify.on_invalid.clone());
        }
    }
    for (provider, source) in &file.secret {
        let provider = known(provider)?;
        if !sources.iter().any(|(name, _)| *name == provider) {
            sources.push((provider, source.clone()));
        }
    }
    let on_invalid = match on_invalid.as_deref() {
        None | Some("flag") => OnInvalid::Flag,
        Some("reject") => OnInvalid::Reject,
        Some(other) => {
            return Err(Failure::new(
                Exit::Configuration,
                format!("on_invalid = {other:?} is neither flag nor reject"),
            ));
        }
    };
    let mut keys: BTreeMap<String, Keys> = BTreeMap::new();
    for (provider, source) in sources {
        let secret = Secret::new(secrets::source(&source)?);
        keys.entry(provider).or_default().secrets.push(secret);
    }
    for provider in catalogue.iter() {
        let variable = secrets::variable(provider.name());
        if keys.contains_key(provider.name()) {
            continue;
        }
        if let Ok(value) = std::env::var(&variable)
            && !value.is_empty()
        {
            let secrets = vec![Secret::new(value)];
            keys.insert(
                provider.name().to_owned(),
                Keys {
                    secrets,
                    ..Keys::default()
                },
            );
        }
    }
    if on_invalid == OnInvalid::Reject
        && let Some(rule) = rules.iter().find(|rule| !keys.contains_key(&rule.provider))
    {
        return Err(Failure::new(
            Exit::Configuration,
            format!(
                "every request for {} would be rejected: no secret is known",
                rule.provider
            ),
        )
        .hint(format!(
            "set {}, or give --secret",
            secrets::variable(&rule.provider)
        )));
    }
    let mut other_hosts = Vec::new();
    if let Ok(address) = Address::parse(&flags.origin) {
        other_hosts.push(address.authority());
    }
    let guard = Guard::new(catalogue, rules, keys, on_invalid, other_hosts);
    Ok(guard.scaled(flags.time_scale.unwrap_or(1.0)))
}

/// Refuses what was meant as a provider's name and has a slip in it. What is far from every name
/// is the beginning of a secret.
fn refuse_slip(catalogue: &Catalogue, name: &str) -> Result<(), Failure> {
    let near = |provider: &signature::Provider| {
        name.len() > 3 && strsim::damerau_levenshtein(name, provider.name()) <= 2
    };
    match catalogue.iter().any(near) {
        true => Err(unknown_provider(catalogue, name)),
        false => Ok(()),
    }
}

/// A provider that is not in the catalogue, with the nearest that is.
pub fn unknown_provider(catalogue: &Catalogue, name: &str) -> Failure {
    let nearest = catalogue
        .iter()
        .min_by_key(|provider| strsim::damerau_levenshtein(name, provider.name()))
        .map(|provider| provider.name().to_owned())
        .unwrap_or_default();
    let all: Vec<&str> = catalogue.iter().map(|provider| provider.name()).collect();
    Failure::new(Exit::Usage, format!("there is no provider {name:?}")).hint(format!(
        "did you mean {nearest}? There are: {}",
        all.join(", ")
    ))
}
