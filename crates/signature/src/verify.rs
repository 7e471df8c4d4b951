//! From a message and keys to a verdict.
//!
//! ```text
//! message ─► signatures in it ─┐
//!         ─► signed texts ─────┼─► any secret, any text, any signature equal? ─► checks ─► age
//! secrets ─► keys ─────────────┘
//! ```
//!
//! `missing` comes before `invalid`, `invalid` before `stale`: a forged request is never called
//! stale. Rotation falls out of it: any pair of signature and secret may match.
//!
//! Work is bounded: [`MAX_SIGNATURES`], [`MAX_SECRETS`], six templates or eight readings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::cloudvno;
use crate::json::{self, Style, Text};
use crate::mac::{self, Hash, Secret};
use crate::python;
use crate::request::{Fault, Message, Request, name_at};
use crate::scheme::{
    Component, Delivery, Encoding, Function, Kind, Node, Place, Provider, Scheme, SignedText,
    Stage, Template, Unit,
};
use crate::time;
use crate::url::{self, Url};
use crate::verdict::{Judgement, Verdict};

/// Signatures of one message that are compared. Providers send up to three while they rotate.
pub(crate) const MAX_SIGNATURES: usize = 16;
/// Secrets of one provider that are tried: the new, the old, and two to spare.
pub const MAX_SECRETS: usize = 4;
/// Longest signature value that is read, in bytes.
const MAX_SIGNATURE_BYTES: usize = 8 << 10;

/// What the user configured for one provider.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Any may match; the first [`MAX_SECRETS`] are tried, in this order. For `basic`, each is
    /// `user:password`.
    pub secrets: Vec<Secret>,
    /// For schemes with a public key, of which there are none yet.
    pub public_key: Option<String>,
    /// Other values that a scheme names as `config:x`, such as the id of the key.
    pub config: BTreeMap<String, String>,
}

impl Keys {
    /// The secrets that count, with their number from 1.
    pub(crate) fn usable(&self) -> impl Iterator<Item = (usize, &Secret)> {
        let numbered = self.secrets.iter().enumerate().take(MAX_SECRETS);
        numbered
            .filter(|(_, secret)| !secret.is_blank())
            .map(|(index, secret)| (index + 1, secret))
    }
}

impl Provider {
    /// Judges a message by this provider's scheme, at the time of its arrival.
    ///
    /// `why` is one sentence for every verdict but `valid` and `none`; `hint` is left empty, for
    /// [`Provider::explain`] costs more and may come later. Without a usable secret the verdict is
    /// `no-secret`, whatever came; for a scheme of kind `none` it is `none`.
    pub fn verify(&self, message: &Message<'_>, keys: &Keys) -> Judgement {
        let (verdict, why, found) = self.judge(message, keys);
        Judgement {
            verdict,
            provider: Some(self.name.clone()),
            why,
            reading: found
                .as_ref()
                .and_then(|found| found.reading)
                .map(String::from),
            secret: found.map(|found| found.secret),
            hint: None,
        }
    }

    /// The provider's name for what happened, such as `invoice.paid`.
    pub fn event(&self, message: &Message<'_>) -> Option<String> {
        name_at(&Request::new(*message), &self.event)
    }

    /// The provider's own id for this event, equal in all its retries.
    ///
    /// CloudVNO sends none. Its signature is equal for a retry, so the id is the SHA-256 of
    /// provider, URL, signature and body in hex; `None` if the signature is not there.
    pub fn delivery(&self, message: &Message<'_>) -> Option<String> {
        let request = Request::new(*message);
        let places = match &self.delivery {
            Delivery::Places(places) => places,
            Delivery::Derived => {
                let place = self.scheme.sig.first()?;
                let signature = request.at(place).ok()??;
                let parts = [
                    self.name.as_bytes(),
                    message.url.as_bytes(),
                    &signature,
                    message.body,
                ];
                // With the length before each part, no two lists of parts are the same text.
                let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
                let text: Vec<&[u8]> = lengths
                    .iter()
                    .zip(parts)
                    .flat_map(|(length, part)| [length, part])
                    .collect();
                return Some(mac::hex(&Hash::Sha256.digest(&text)));
            }
        };
        name_at(&request, places)
    }

    fn judge(
        &self,
        message: &Message<'_>,
        keys: &Keys,
    ) -> (Verdict, Option<String>, Option<Match>) {
        if self.scheme.kind == Kind::None {
            return (Verdict::None, None, None);
        }
        if keys.usable().next().is_none() {
            let why = format!("no secret is configured for {}", self.title);
            return (Verdict::NoSecret, Some(why), None);
        }
        let request = Request::new(*message);
        match self.matches(&request, keys) {
            Err(Fault::Absent(why)) => (Verdict::Missing, Some(why), None),
            Err(Fault::Unreadable(why)) => (Verdict::Invalid, Some(why), None),
            Ok((frame, found)) => match self.scheme.age(&frame, message.at) {
                Err(why) => (Verdict::Invalid, Some(why), None),
                Ok(None) => (Verdict::Valid, None, Some(found)),
                Ok(Some(why)) => (Verdict::Stale, Some(why), Some(found)),
            },
        }
    }

    /// The pair of secret and text that matches, its checks passed.
    fn matches<'r>(
        &'r self,
        request: &'r Request<'r>,
        keys: &'r Keys,
    ) -> Result<(Frame<'r>, Match), Fault> {
        let frame = Frame::new(&self.scheme, request, &keys.config)?;
        let signatures = frame.signatures()?;
        let mut tried = 0;
        let mut found = None;
        'secrets: for (number, secret) in keys.usable() {
            for key in self.scheme.key.keys(secret.text()) {
                tried += 1;
                for text in frame.texts(&key)? {
                    let ours = self.scheme.compute(&key, &text.parts);
                    if signatures.iter().any(|theirs| mac::same(&ours, theirs)) {
                        found = Some(Match {
                            secret: number,
                            reading: text.reading,
                        });
                        break 'secrets;
                    }
                }
            }
        }
        let Some(found) = found else {
            return Err(Fault::Unreadable(self.mismatch(tried, keys)));
        };
        for (left, right) in &self.scheme.check {
            frame.check(left, right)?;
        }
        Ok((frame, found))
    }

    fn mismatch(&self, tried: usize, keys: &Keys) -> String {
        let sig = self
            .scheme
            .sig
            .first()
            .map_or_else(String::new, |place| format!(" ({place})"));
        let thing = match self.scheme.kind {
            Kind::Hmac => "MAC",
            Kind::Digest => "digest",
            Kind::Token | Kind::Basic | Kind::None => "token",
        };
        let count = keys.secrets.len();
        if tried == 0 {
            let due = self.scheme.key.due();
            return format!("the secret configured for {} is no {due}", self.title);
        }
        if count > MAX_SECRETS {
            return format!(
                "the {thing} does not match any of the first {MAX_SECRETS} of {count} secrets{sig}"
            );
        }
        if count == 1 {
            return format!("the {thing} does not match the secret{sig}");
        }
        format!("the {thing} does not match any of {count} secrets{sig}")
    }
}

/// What matched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    /// From 1.
    pub(crate) secret: usize,
    pub(crate) reading: Option<&'static str>,
}

/// One message seen through one scheme: everything but the key.
pub(crate) struct Frame<'r> {
    scheme: &'r Scheme,
    request: &'r Request<'r>,
    config: &'r BTreeMap<String, String>,
    /// The signature values as they came, whole.
    values: Vec<Cow<'r, [u8]>>,
    ts: Option<Cow<'r, [u8]>>,
}

/// One text that may have been signed.
pub(crate) struct Candidate<'k> {
    pub(crate) parts: Vec<Cow<'k, [u8]>>,
    /// `None` for the usual one.
    pub(crate) reading: Option<&'static str>,
}

impl<'r> Frame<'r> {
    pub(crate) fn new(
        scheme: &'r Scheme,
        request: &'r Request<'r>,
        config: &'r BTreeMap<String, String>,
    ) -> Result<Frame<'r>, Fault> {
        let mut values = Vec::new();
        for place in &scheme.sig {
            let found = request.all_at(place);
            // A list may come in several headers; a single value may not.
            let many = scheme.list.is_some() || matches!(place.first, Stage::NumberedHeader(_));
            if found.len() > 1 && !many {
                return Err(Fault::Unreadable(format!(
                    "{place} came {} times",
                    found.len()
                )));
            }
            values.extend(found);
        }
        if values.is_empty() {
            let what = scheme
                .sig
                .first()
                .map_or_else(String::new, Place::to_string);
            return Err(Fault::Absent(format!("no {what} came")));
        }
        let mut frame = Frame {
            scheme,
            request,
            config,
            values,
            ts: None,
        };
        match &scheme.ts {
            None => {}
            Some(Component::Place(place)) => frame.ts = request.at(place)?,
            Some(Component::Field(name)) => {
                frame.ts = frame.field(name).map(|value| Cow::Owned(value.to_vec()));
            }
            Some(_) => {}
        }
        if scheme.tolerance.is_some() && frame.ts.is_none() {
            return Err(frame.no_ts());
        }
        Ok(frame)
    }

    /// The first signature value as it came.
    pub(crate) fn value(&self) -> &[u8] {
        self.values.first().map_or(&[], |value| value)
    }

    /// The timestamp as it came.
    pub(crate) fn ts(&self) -> Option<&[u8]> {
        self.ts.as_deref()
    }

    /// The signatures that came, still encoded, the prefix stripped.
    pub(crate) fn picked(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let pick = match &self.scheme.pick {
            None => None,
            Some(pick) => {
                let mut parts = Vec::new();
                self.fill(&pick.0, &[], &mut parts)?;
                Some(parts.concat())
            }
        };
        let first = usize::from(self.scheme.positional);
        let items = self
            .values
            .iter()
            .flat_map(|value| self.items(value).into_iter().skip(first));
        let picked = items.filter_map(|item| match &pick {
            None => Some(item.to_vec()),
            Some(pick) => match item.strip_prefix(pick.as_slice()) {
                Some(rest) => Some(rest.trim_ascii().to_vec()),
                None => self.scheme.pick_optional.then(|| item.to_vec()),
            },
        });
        Ok(picked.take(MAX_SIGNATURES).collect())
    }

    /// The signatures that came, decoded. At least one.
    fn signatures(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let place = self
            .scheme
            .sig
            .first()
            .map_or_else(String::new, Place::to_string);
        let picked = self.picked()?;
        if picked.is_empty() {
            let prefix = match self.scheme.pick.as_ref().map(|pick| pick.0.as_slice()) {
                Some([Node::Literal(text)]) => format!(" that starts with {}", shown(text)),
                _ => String::new(),
            };
            return Err(Fault::Unreadable(format!(
                "{place} holds no signature{prefix}"
            )));
        }
        let decoded: Vec<_> = picked
            .iter()
            .filter_map(|item| self.scheme.decode(item))
            .collect();
        if decoded.is_empty() {
            let due = self.scheme.enc.title();
            return Err(Fault::Unreadable(format!("{place} is not {due}")));
        }
        Ok(decoded)
    }

    /// The texts that may have been signed. At least one, unless something is absent.
    pub(crate) fn texts<'k>(&'k self, key: &'k [u8]) -> Result<Vec<Candidate<'k>>, Fault> {
        let templates = match &self.scheme.text {
            _ if matches!(self.scheme.kind, Kind::Token | Kind::Basic) => {
                return Ok(vec![Candidate {
                    parts: vec![Cow::Borrowed(key)],
                    reading: None,
                }]);
            }
            SignedText::Templates(templates) => templates,
            SignedText::CloudVno => {
                let readings = cloudvno::readings(self.request);
                if readings.is_empty() {
                    return Err(Fault::Unreadable(
                        "the body is no form and no JSON object that can be read, so there are no \
                         parameters to verify"
                            .into(),
                    ));
                }
                return Ok(readings
                    .into_iter()
                    .map(|reading| Candidate {
                        reading: (!reading.usual).then_some(reading.words),
                        parts: vec![Cow::Owned(reading.text.into_bytes())],
                    })
                    .collect());
            }
        };
        let mut texts = Vec::new();
        let mut absent = None;
        for template in templates {
            let mut parts = Vec::new();
            match self.fill(&template.0, key, &mut parts) {
                Ok(()) => texts.push(Candidate {
                    parts,
                    reading: None,
                }),
                Err(fault @ Fault::Absent(_)) => {
                    absent.get_or_insert(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        match absent {
            Some(fault) if texts.is_empty() => Err(fault),
            _ => Ok(texts),
        }
    }

    fn fill<'k>(
        &'k self,
        nodes: &'k [Node],
        key: &'k [u8],
        parts: &mut Vec<Cow<'k, [u8]>>,
    ) -> Result<(), Fault> {
        for node in nodes {
            match node {
                Node::Literal(text) => parts.push(Cow::Borrowed(text)),
                Node::Component { what, optional } => match self.component(what, key) {
                    Err(Fault::Absent(_)) if *optional => {}
                    value => parts.push(value?),
                },
                Node::Group(nodes) => {
                    let before = parts.len();
                    match self.fill(nodes, key, parts) {
                        Err(Fault::Absent(_)) => parts.truncate(before),
                        done => done?,
                    }
                }
            }
        }
        Ok(())
    }

    fn component<'k>(&'k self, what: &'k Component, key: &'k [u8]) -> Result<Cow<'k, [u8]>, Fault> {
        let message = &self.request.message;
        let absent =
            |what: &str| Fault::Absent(format!("no {what} came, which the signed text needs"));
        let split = || Url::split(message.url).ok_or_else(|| absent("absolute URL"));
        let text = |text: String| Cow::Owned(text.into_bytes());
        Ok(match what {
            Component::Body => Cow::Borrowed(message.body),
            Component::Ts => match &self.ts {
                Some(ts) => Cow::Borrowed(ts.as_ref()),
                None => return Err(self.no_ts()),
            },
            Component::Method => Cow::Borrowed(message.method.as_bytes()),
            Component::Url => Cow::Borrowed(message.url.as_bytes()),
            Component::UrlPath => Cow::Borrowed(split()?.path.as_bytes()),
            Component::UrlPathQuery => {
                let Url { path, query, .. } = split()?;
                text(query.map_or_else(|| path.into(), |query| format!("{path}?{query}")))
            }
            Component::UrlNoQuery => Cow::Borrowed(url::without_query(message.url).as_bytes()),
            Component::UrlPort => text(split()?.toggle_port().join()),
            Component::Secret => Cow::Borrowed(key),
            Component::Place(place) => self
                .request
                .at(place)?
                .ok_or_else(|| absent(&place.to_string()))?,
            Component::Field(name) => Cow::Borrowed(
                self.field(name)
                    .ok_or_else(|| absent(&format!("item {name}")))?,
            ),
            Component::Config(name) => {
                let value = self.config.get(name);
                let value = value.ok_or_else(|| absent(&format!("configured value {name}")))?;
                Cow::Borrowed(value.as_bytes())
            }
            Component::FormSorted => {
                // An empty body is a form without fields.
                let form = if message.body.is_empty() {
                    Some(&[][..])
                } else {
                    self.request.form().map(Vec::as_slice)
                };
                let mut fields: Vec<_> = form.ok_or_else(|| absent("form body"))?.iter().collect();
                fields.sort();
                fields.dedup();
                text(
                    fields
                        .iter()
                        .flat_map(|(name, value)| [name.as_str(), value])
                        .collect(),
                )
            }
            Component::QuerySorted => {
                let mut fields: Vec<_> = self.request.query().iter().collect();
                fields.sort();
                let pairs: Vec<_> = fields.iter().map(|(name, value)| (name, value)).collect();
                text(python::urlencode(&pairs).replace('+', "%20"))
            }
            Component::FormUrlencoded => {
                let form = self.request.form().ok_or_else(|| absent("form body"))?;
                text(cloudvno::urlencode_last(form))
            }
            Component::JsonUrlencoded => {
                let json = cloudvno::json_fields(self.request);
                text(cloudvno::urlencode_last(
                    &json.ok_or_else(|| absent("JSON object"))?,
                ))
            }
            Component::QueryFormUrlencoded => {
                let form = self.request.form().ok_or_else(|| absent("form body"))?;
                text(cloudvno::urlencode_last(
                    &[self.request.query().as_slice(), form].concat(),
                ))
            }
            Component::Call(function, inner) => {
                let value = self.component(inner, key)?;
                Cow::Owned(function.apply(&value).ok_or_else(|| absent("UTF-8 text"))?)
            }
        })
    }

    /// One pair of `check`: equal, if the first exists. A value that is not configured is not
    /// checked.
    fn check(&self, left: &Component, right: &Component) -> Result<(), Fault> {
        let absent = |value: Result<Cow<'_, [u8]>, Fault>| match value {
            Ok(value) => Ok(Some(value.into_owned())),
            Err(Fault::Absent(_)) => Ok(None),
            Err(fault) => Err(fault),
        };
        let Some(ours) = absent(self.component(left, &[]))? else {
            return Ok(());
        };
        let theirs = absent(self.component(right, &[]))?;
        match theirs {
            None if matches!(right, Component::Config(_)) => Ok(()),
            Some(theirs) if mac::same(&ours, &theirs) => Ok(()),
            _ => Err(Fault::Unreadable(format!(
                "the MAC matches, and {left} is not what {right} says"
            ))),
        }
    }

    /// Another item of the signature value: `t` of `t=1,v1=…`, or `0` for the first.
    fn field(&self, name: &str) -> Option<&[u8]> {
        let items = self.values.iter().flat_map(|value| self.items(value));
        if let Ok(place) = name.parse::<usize>() {
            return items.into_iter().nth(place);
        }
        items.into_iter().find_map(|item| {
            let rest = item.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(rest.trim_ascii())
        })
    }

    fn items<'v>(&self, value: &'v [u8]) -> Vec<&'v [u8]> {
        if value.len() > MAX_SIGNATURE_BYTES {
            return Vec::new();
        }
        let Some(separator) = &self.scheme.list else {
            return vec![value];
        };
        let mut items = Vec::new();
        let mut rest = value;
        // Twice the signatures, for other items stand among them.
        while items.len() < 2 * MAX_SIGNATURES {
            let at = rest
                .windows(separator.len())
                .position(|part| part == separator.as_bytes());
            let Some(at) = at else { break };
            items.push(rest[..at].trim_ascii());
            rest = &rest[at + separator.len()..];
        }
        items.push(rest.trim_ascii());
        items
    }

    fn no_ts(&self) -> Fault {
        let place = self
            .scheme
            .ts
            .as_ref()
            .map_or_else(String::new, Component::to_string);
        Fault::Absent(format!("no {place} came, which the signed text needs"))
    }
}

impl Scheme {
    /// The MAC, digest or token that should have come.
    pub(crate) fn compute(&self, key: &[u8], parts: &[Cow<'_, [u8]>]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self.kind {
            Kind::Hmac => self.hash.hmac(key, parts),
            Kind::Digest => self.hash.digest(parts),
            Kind::Token | Kind::Basic | Kind::None => parts.concat(),
        })
    }

    /// The bytes of one signature item; `None` if it is not in this encoding.
    pub(crate) fn decode(&self, item: &[u8]) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Token | Kind::None => Some(item.to_vec()),
            Kind::Basic => Encoding::Base64.decode(item),
            Kind::Hmac | Kind::Digest => self.enc.decode(item),
        }
    }

    /// `None`: fresh, or no matter. `Some`: how far outside the tolerance. An error if the time
    /// cannot be read.
    fn age(&self, frame: &Frame<'_>, at: i64) -> Result<Option<String>, String> {
        let Some(tolerance) = self.tolerance else {
            return Ok(None);
        };
        let signed = frame.ts().and_then(|ts| self.unit.seconds(ts));
        let signed = signed.ok_or_else(|| {
            format!(
                "the MAC matches, and its timestamp is not {}",
                self.unit.title()
            )
        })?;
        let age = at.saturating_sub(signed);
        if age > tolerance.past {
            let past = tolerance.past;
            return Ok(Some(format!(
                "matches; the timestamp is {age} s old, tolerance {past} s"
            )));
        }
        if age.saturating_neg() > tolerance.future {
            return Ok(Some(format!(
                "matches; the timestamp is {} s ahead of its arrival here, tolerance {} s",
                age.saturating_neg(),
                tolerance.future
            )));
        }
        Ok(None)
    }
}

impl Unit {
    /// Seconds since the Unix epoch, rounded down.
    pub(crate) fn seconds(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?.trim();
        let number = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if decimal {
                text.parse::<i64>().ok()
            } else {
                None
            }
        };
        match self {
            Unit::Seconds => number(),
            Unit::Milliseconds => number().map(|milliseconds| milliseconds.div_euclid(1000)),
            Unit::Rfc3339 => time::parse_rfc3339(text),
            Unit::HttpDate => time::parse_http_date(text),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Unit::Seconds => "a number of seconds",
            Unit::Milliseconds => "a number of milliseconds",
            Unit::Rfc3339 => "a date as in RFC 3339",
            Unit::HttpDate => "an HTTP date",
        }
    }
}

impl Function {
    /// `None` where text is due and the bytes are none.
    fn apply(self, value: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Function::Sha256Raw => Hash::Sha256.digest(&[value]),
            Function::Sha256Hex => mac::hex(&Hash::Sha256.digest(&[value])).into_bytes(),
            Function::Sha1Hex => mac::hex(&Hash::Sha1.digest(&[value])).into_bytes(),
            Function::JsonStr => {
                let mut out = String::new();
                let text = Text::from(std::str::from_utf8(value).ok()?);
                json::quote(text.codes(), Style::COMPACT, &mut out);
                out.into_bytes()
            }
            Function::Lower => std::str::from_utf8(value).ok()?.to_lowercase().into_bytes(),
            Function::Crc32 => crc32(value).to_string().into_bytes(),
            Function::B64Url => Encoding::Base64Url.encode(value).into_bytes(),
        })
    }
}

/// The CRC of zip and PNG, bit by bit: it is taken of one small body, once.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Component {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::Place(place) => place.fmt(out),
            Component::Field(name) => write!(out, "item {name} of the signature"),
            Component::Config(name) => write!(out, "the configured {name}"),
            Component::Call(function, inner) => write!(out, "{}({inner})", function.name()),
            plain => out.write_str(plain.name()),
        }
    }
}

impl Template {
    /// The text of a template without components.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [Node::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_agrees_with_the_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
