//! Signing anew, so that a replayed request is as fresh as a live one.

use std::fmt;

use crate::mac::Secret;
use crate::request::{Fault, Message, Request};
use crate::scheme::{Component, Delivery, Encoding, Kind, Place, Provider, Stage, Template, Unit};
use crate::time;
use crate::url;
use crate::verify::Frame;

/// A request that is to be signed.
#[derive(Clone, Copy)]
pub struct Unsigned<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The public URL that the receiver will see itself addressed by.
    pub url: &'a str,
    /// Headers as they will be sent; those that signing sets are replaced.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The body as it will be sent.
    pub body: &'a [u8],
    /// The id of the delivery, for schemes that sign one in a header. Empty: the header that is
    /// there stays.
    pub id: &'a str,
}

impl fmt::Debug for Unsigned<'_> {
    /// Neither header values nor query nor body.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Unsigned")
            .field("method", &self.method)
            .field("url", &url::without_query(self.url))
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("id", &self.id)
            .finish()
    }
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignError {
    /// The signature does not go to a header, or needs more than a secret.
    #[error("{provider} cannot be signed for here: {why}")]
    Unsupported {
        /// The provider's title.
        provider: String,
        /// What stands in the way.
        why: String,
    },
    /// The secret is blank, or not in the form that the scheme uses.
    #[error("the secret of {provider} makes no key")]
    Secret {
        /// The provider's title.
        provider: String,
    },
    /// Something that the signed text needs is not there, or is there twice.
    #[error("the request cannot be signed for {provider}: {what}")]
    Request {
        /// The provider's title.
        provider: String,
        /// What is missing or cannot be read.
        what: String,
    },
}

impl Provider {
    /// Signs a request as the provider would, at the time `at` in seconds since the Unix epoch.
    ///
    /// Returns the headers to set, each in place of any of its name: the signature, and where the
    /// scheme has them the timestamp and the id. What comes out verifies with the same secret.
    /// CloudVNO's first reading that fits the body is signed.
    ///
    /// # Errors
    ///
    /// [`SignError`]: the signature is not in a header, the secret makes no key, the request lacks
    /// something.
    pub fn sign(
        &self,
        request: Unsigned<'_>,
        secret: &Secret,
        at: i64,
    ) -> Result<Vec<(String, String)>, SignError> {
        let scheme = &self.scheme;
        let unsupported = |why: &str| SignError::Unsupported {
            provider: self.title.clone(),
            why: why.into(),
        };
        let header = match scheme.sig.first() {
            _ if scheme.kind == Kind::None => return Err(unsupported("it does not sign")),
            Some(Place {
                first: Stage::Header(name),
                then,
            }) if then.is_empty() => name,
            _ => return Err(unsupported("its signature is not in a header of its own")),
        };
        let pick = match scheme.pick.as_ref().map(Template::literal) {
            None => "".into(),
            Some(Some(pick)) => String::from_utf8_lossy(pick),
            Some(None) => return Err(unsupported("its signature names a configured value")),
        };
        let no_key = || SignError::Secret {
            provider: self.title.clone(),
        };
        if secret.is_blank() {
            return Err(no_key());
        }
        let key = scheme
            .key
            .keys(secret.text())
            .into_iter()
            .next()
            .ok_or_else(no_key)?;

        // What a receiver will find: the given headers, with those that are ours in their place.
        let ts = scheme.unit.format(at);
        let mut set: Vec<(String, String)> = Vec::new();
        if let Delivery::Places(places) = &self.delivery
            && let Some(Place {
                first: Stage::Header(name),
                ..
            }) = places.first()
            && !request.id.is_empty()
        {
            set.push((name.clone(), request.id.into()));
        }
        let separator = scheme.list.as_deref().unwrap_or(",");
        let mut before = String::new();
        match &scheme.ts {
            Some(Component::Place(Place {
                first: Stage::Header(name),
                ..
            })) => {
                set.push((name.clone(), ts));
            }
            Some(Component::Field(_)) if scheme.positional => before = format!("{ts}{separator}"),
            Some(Component::Field(name)) => before = format!("{name}={ts}{separator}"),
            _ => {}
        }
        // Until the MAC is known, something else stands in its place.
        set.push((header.clone(), format!("{before}{pick}-")));
        let ours = |name: &[u8]| {
            set.iter()
                .any(|own| own.0.as_bytes().eq_ignore_ascii_case(name))
        };
        let mut headers: Vec<(&[u8], &[u8])> = request
            .headers
            .iter()
            .filter(|given| !ours(given.0))
            .copied()
            .collect();
        headers.extend(
            set.iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        );
        let message = Message {
            method: request.method,
            url: request.url,
            headers: &headers,
            body: request.body,
            at,
        };
        let read = Request::new(message);
        let config = std::collections::BTreeMap::new();
        let fault = |fault| SignError::Request {
            provider: self.title.clone(),
            what: match fault {
                Fault::Absent(why) | Fault::Unreadable(why) => why,
            },
        };
        let frame = Frame::new(scheme, &read, &config).map_err(fault)?;
        let texts = frame.texts(&key).map_err(fault)?;
        // Templates and readings are in order of preference.
        let text = texts.first().ok_or_else(no_key)?;
        let mac = scheme.compute(&key, &text.parts);
        let mac = match scheme.kind {
            Kind::Token | Kind::None => secret.text().into(),
            Kind::Basic => Encoding::Base64.encode(&mac),
            Kind::Hmac | Kind::Digest => scheme.enc.encode(&mac),
        };
        if let Some(signature) = set.last_mut() {
            signature.1 = format!("{before}{pick}{mac}");
        }
        Ok(set)
    }
}

impl Unit {
    fn format(self, at: i64) -> String {
        match self {
            Unit::Seconds => at.to_string(),
            Unit::Milliseconds => at.saturating_mul(1000).to_string(),
            Unit::Rfc3339 => time::format_rfc3339(at),
            Unit::HttpDate => time::format_http_date(at),
        }
    }
}
