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
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::cloudvno;
use crate::form::{self, Charset, Fields};
use crate::json::{self, Json, Style, Text};
use crate::mac::{self, Hash, Key, Secret};
use crate::python;
use crate::scheme::{
    Component, Delivery, Encoding, Function, KeyForm, Kind, Node, Place, Provider, Scheme,
    SignedText, Stage, Template, Unit,
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
/// Longest event name or delivery id that is taken, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// A request as it arrived, borrowed for one call.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// In capitals, as sent.
    pub method: &'a str,
    /// The public URL as the sender addressed it, such as `https://hooks.example.com/webhook?a=1`.
    pub url: &'a str,
    /// Names and values in the order they came, repeats included; names in any case.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The body as received, before any decoding.
    pub body: &'a [u8],
    /// When it first arrived, in seconds since the Unix epoch. A replay keeps it.
    pub at: i64,
}

impl fmt::Debug for Message<'_> {
    /// Neither header values nor query nor body, for they may hold secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Message")
            .field("method", &self.method)
            .field("url", &url::without_query(self.url))
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("at", &self.at)
            .finish()
    }
}

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
        for (number, secret) in keys.usable() {
            for key in self.scheme.key.keys(secret.text()) {
                tried += 1;
                for text in frame.texts(&key)? {
                    let ours = self.scheme.compute(&key, &text.parts);
                    if found.is_none() && signatures.iter().any(|theirs| mac::same(&ours, theirs)) {
                        found = Some(Match {
                            secret: number,
                            reading: text.reading,
                        });
                    }
                }
                if found.is_some() {
                    break;
                }
            }
            if found.is_some() {
                break;
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

/// Why a message could not be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something that the scheme needs is not there; what, as a sentence.
    Absent(String),
    /// It is there and does not match, or cannot be read; why, as a sentence.
    Unreadable(String),
}

/// What matched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    /// From 1.
    pub(crate) secret: usize,
    pub(crate) reading: Option<&'static str>,
}

/// A message with what is read out of it kept: fields and JSON are parsed once, when needed.
pub(crate) struct Request<'a> {
    pub(crate) message: Message<'a>,
    kind: form::Kind,
    form: OnceCell<Option<Fields>>,
    query: OnceCell<Fields>,
    json: OnceCell<Option<Json>>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(message: Message<'a>) -> Request<'a> {
        let mut headers = message.headers.iter();
        let kind = headers.find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        Request {
            message,
            kind: form::Kind::of(kind.map(|(_, value)| value.trim_ascii())),
            form: OnceCell::new(),
            query: OnceCell::new(),
            json: OnceCell::new(),
        }
    }

    pub(crate) fn kind(&self) -> &form::Kind {
        &self.kind
    }

    /// The body's form fields, if it is a form.
    pub(crate) fn form(&self) -> Option<&Fields> {
        self.form
            .get_or_init(|| self.kind.fields(self.message.body))
            .as_ref()
    }

    /// The fields of the URL's query; empty without one.
    pub(crate) fn query(&self) -> &Fields {
        self.query.get_or_init(|| {
            let query = url::query(self.message.url).unwrap_or_default();
            form::parse_qsl(query.as_bytes(), Charset::Utf8).unwrap_or_default()
        })
    }

    /// The body as JSON, if it is.
    pub(crate) fn json(&self) -> Option<&Json> {
        self.json
            .get_or_init(|| Json::parse(self.message.body))
            .as_ref()
    }

    /// The values of a header in the order they came, outer blanks trimmed.
    pub(crate) fn header<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let named = self.message.headers.iter();
        let named = named.filter(move |header| header.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|header| header.1.trim_ascii())
    }

    /// The value at a place. Two headers of one name are refused: which one counts is a guess that
    /// a proxy and an app may make differently.
    pub(crate) fn at(&self, place: &Place) -> Result<Option<Cow<'_, [u8]>>, Fault> {
        let mut values = self.all_at(place);
        if values.len() > 1 {
            return Err(Fault::Unreadable(format!(
                "{place} came {} times",
                values.len()
            )));
        }
        Ok(values.pop())
    }

    /// The values at a place; of fields the last of a name, as most frameworks have it.
    fn all_at(&self, place: &Place) -> Vec<Cow<'_, [u8]>> {
        let field = |fields: &Fields, name: &str| {
            fields
                .iter()
                .rev()
                .find(|field| field.0 == name)
                .map(|field| field.1.clone())
        };
        let owned = |text: Option<String>| text.map(|text| Cow::Owned(text.into_bytes()));
        let values: Vec<Cow<'_, [u8]>> = match &place.first {
            Stage::Header(name) => self.header(name).map(Cow::Borrowed).collect(),
            Stage::NumberedHeader(before) => self
                .message
                .headers
                .iter()
                .filter(|(name, _)| {
                    name.split_at_checked(before.len())
                        .is_some_and(|(start, number)| {
                            start.eq_ignore_ascii_case(before.as_bytes())
                                && !number.is_empty()
                                && number.iter().all(u8::is_ascii_digit)
                        })
                })
                .map(|(_, value)| Cow::Borrowed(value.trim_ascii()))
                .collect(),
            Stage::Form(name) => owned(self.form().and_then(|form| field(form, name)))
                .into_iter()
                .collect(),
            Stage::Query(name) => owned(field(self.query(), name)).into_iter().collect(),
            Stage::Json(path) => {
                let value = self
                    .json()
                    .and_then(|json| json.at(path))
                    .and_then(Json::plain);
                owned(value).into_iter().collect()
            }
        };
        place.then.iter().fold(values, |values, stage| {
            values
                .iter()
                .filter_map(|value| match stage {
                    Stage::Json(path) => Json::parse(value)?.at(path)?.plain(),
                    Stage::Form(name) | Stage::Query(name) => {
                        field(&form::parse_qsl(value, Charset::Utf8)?, name)
                    }
                    Stage::Header(_) | Stage::NumberedHeader(_) => None,
                })
                .map(|text| Cow::Owned(text.into_bytes()))
                .collect()
        })
    }
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
                        "the body is neither a form nor a JSON object, so there are no parameters \
                         to verify"
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
        let absent = |what: &str| Fault::Absent(format!("no {what} came, which the signed text needs"));
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

impl KeyForm {
    /// The keys that a pasted secret may mean, the likely one first; none if it is not in this
    /// form. Never an empty key: anybody could sign with it.
    pub(crate) fn keys(self, secret: &str) -> Vec<Key> {
        let utf8 = || Some(secret.as_bytes().to_vec());
        let base64 = |text: &str| decode_secret(text);
        let stripped = secret.strip_prefix("whsec_");
        let keys = match self {
            KeyForm::Utf8 => vec![utf8()],
            KeyForm::Hex => vec![mac::unhex(secret.as_bytes())],
            KeyForm::Base64 => vec![base64(secret)],
            KeyForm::Whsec => vec![base64(stripped.unwrap_or(secret))],
            KeyForm::WhsecOrUtf8 => vec![stripped.map_or_else(utf8, base64)],
            KeyForm::Utf8AndBase64 => vec![utf8(), base64(secret)],
            KeyForm::Sha1 => vec![Some(Hash::Sha1.digest(&[secret]))],
        };
        keys.into_iter()
            .flatten()
            .filter(|key| !key.is_empty())
            .map(Zeroizing::new)
            .collect()
    }

    fn due(self) -> &'static str {
        match self {
            KeyForm::Hex => "hex",
            KeyForm::Base64 => "base64",
            KeyForm::Whsec | KeyForm::WhsecOrUtf8 => "base64 after whsec_",
            KeyForm::Utf8 | KeyForm::Utf8AndBase64 | KeyForm::Sha1 => "text",
        }
    }
}

/// Base64 as people paste it: padded or not.
pub(crate) fn decode_secret(text: &str) -> Option<Vec<u8>> {
    engine(&alphabet::STANDARD, true).decode(text).ok()
}

fn engine(alphabet: &alphabet::Alphabet, lenient: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(lenient);
    GeneralPurpose::new(alphabet, config)
}

impl Encoding {
    /// Strict: one byte string has one text, but for the case of hex and the padding of base64.
    pub(crate) fn decode(self, item: &[u8]) -> Option<Vec<u8>> {
        match self {
            Encoding::Hex => mac::unhex(item),
            Encoding::HexLower => {
                if item.iter().any(u8::is_ascii_uppercase) {
                    None
                } else {
                    mac::unhex(item)
                }
            }
            Encoding::Base64 => engine(&alphabet::STANDARD, false).decode(item).ok(),
            Encoding::Base64Url => engine(&alphabet::URL_SAFE, false).decode(item).ok(),
            Encoding::Base64Hex => Encoding::Hex.decode(&Encoding::Base64.decode(item)?),
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex | Encoding::HexLower => mac::hex(bytes),
            Encoding::Base64 => engine(&alphabet::STANDARD, false).encode(bytes),
            Encoding::Base64Url => {
                let padded = engine(&alphabet::URL_SAFE, false).encode(bytes);
                padded.trim_end_matches('=').into()
            }
            Encoding::Base64Hex => Encoding::Base64.encode(mac::hex(bytes).as_bytes()),
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Encoding::Hex => "hex",
            Encoding::HexLower => "hex in small letters",
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
            Encoding::Base64Hex => "hex within base64",
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

fn name_at(request: &Request<'_>, places: &[Place]) -> Option<String> {
    places.iter().find_map(|place| {
        let value = request.at(place).ok()??;
        let text = std::str::from_utf8(&value).ok()?;
        let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        (fits && !text.chars().any(char::is_control)).then(|| text.to_string())
    })
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Place {
    /// In words, as in "no … came".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            Stage::Header(name) => out.write_str(name),
            Stage::NumberedHeader(before) => write!(out, "{before}1"),
            Stage::Form(name) => write!(out, "form field {name}"),
            Stage::Query(name) => write!(out, "query field {name}"),
            Stage::Json(path) => write!(out, "JSON field {}", path.join(".")),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::Place(place) => place.fmt(out),
            Component::Field(name) => write!(out, "item {name} of the signature"),
            Component::Config(name) => write!(out, "the configured {name}"),
            Component::Call(function, inner) => write!(out, "{function:?} of {inner}"),
            other => write!(out, "{other:?}"),
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

    #[test]
    fn an_empty_key_is_no_key() {
        assert!(KeyForm::Whsec.keys("whsec_").is_empty());
        assert!(KeyForm::Hex.keys("").is_empty());
        assert!(KeyForm::Whsec.keys("whsec_%%").is_empty());
        assert_eq!(KeyForm::Utf8AndBase64.keys("YWJj").len(), 2);
    }

    #[test]
    fn base64_has_one_text_for_one_value() {
        assert_eq!(Encoding::Base64.decode(b"YQ=="), Some(b"a".to_vec()));
        assert_eq!(Encoding::Base64.decode(b"YQ"), Some(b"a".to_vec()));
        assert_eq!(
            Encoding::Base64.decode(b"YR=="),
            None,
            "bits beyond the last byte"
        );
        assert_eq!(Encoding::Base64.decode(b"-_8="), None);
        assert_eq!(Encoding::Base64Url.decode(b"-_8"), Some(vec![0xfb, 0xff]));
    }
}
