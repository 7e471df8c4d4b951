//! The providers that are known: built in, and added by the user.

use std::collections::BTreeMap;

use crate::scheme::{Component, Delivery, Place, Provider, SignedText, Stage};

/// Providers by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    providers: BTreeMap<String, Provider>,
}

/// One row each, in the form that users write for their own.
const BUILTIN: &[(&str, &str)] = &[
    ("cloudvno", include_str!("providers/cloudvno.toml")),
    ("github", include_str!("providers/github.toml")),
    ("slack", include_str!("providers/slack.toml")),
    (
        "standard-webhooks",
        include_str!("providers/standard-webhooks.toml"),
    ),
    ("stripe", include_str!("providers/stripe.toml")),
    ("svix", include_str!("providers/svix.toml")),
];

impl Catalogue {
    /// The providers that come with the program.
    pub fn builtin() -> Catalogue {
        let providers = BUILTIN.iter().map(|(name, row)| {
            let provider = Provider::parse(name, row).expect("a test parses every built-in row");
            (name.to_string(), provider)
        });
        Catalogue {
            providers: providers.collect(),
        }
    }

    /// The provider of that name.
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name)
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// Adds a provider, in place of one of the same name.
    pub fn insert(&mut self, provider: Provider) {
        self.providers.insert(provider.name().into(), provider);
    }

    /// The provider whose signature header came: a guess, to suggest and never to verify by, for
    /// several senders share a header. Of several, the one with most of its other headers there;
    /// then the first by name. `Authorization` says nothing.
    pub fn detect(&self, headers: &[(&[u8], &[u8])]) -> Option<&Provider> {
        let came = |place: &Place| match &place.first {
            Stage::Header(name) => headers
                .iter()
                .any(|header| header.0.eq_ignore_ascii_case(name.as_bytes())),
            Stage::NumberedHeader(before) => headers.iter().any(|header| {
                let start = header.0.get(..before.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(before.as_bytes()))
            }),
            Stage::Form(_) | Stage::Json(_) | Stage::Query(_) => false,
        };
        let authorization = |place: &Place| match &place.first {
            Stage::Header(name) => name.eq_ignore_ascii_case("authorization"),
            _ => false,
        };
        let mut best: Option<(usize, &Provider)> = None;
        for provider in self.iter() {
            if !provider
                .scheme
                .sig
                .iter()
                .any(|place| came(place) && !authorization(place))
            {
                continue;
            }
            let score = others(provider)
                .into_iter()
                .filter(|place| came(place))
                .count();
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, provider));
            }
        }
        best.map(|(_, provider)| provider)
    }
}

/// The places that a provider's requests have besides the signature.
fn others(provider: &Provider) -> Vec<&Place> {
    let mut out: Vec<&Place> = provider.event.iter().collect();
    if let Delivery::Places(places) = &provider.delivery {
        out.extend(places);
    }
    let templates = match &provider.scheme.text {
        SignedText::Templates(templates) => templates.as_slice(),
        SignedText::CloudVno => &[],
    };
    let components = templates.iter().flat_map(|template| template.components());
    for component in components.chain(&provider.scheme.ts) {
        if let Component::Place(place) = component {
            out.push(place);
        }
    }
    out
}
