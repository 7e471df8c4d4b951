//! A request as it arrived, and what stands where in it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use crate::form::{self, Charset, Fields};
use crate::json::Json;
use crate::scheme::{Place, Stage};
use crate::url;

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

/// Why a message could not be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something that the scheme needs is not there; what, as a sentence.
    Absent(String),
    /// It is there and does not match, or cannot be read; why, as a sentence.
    Unreadable(String),
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
    pub(crate) fn all_at(&self, place: &Place) -> Vec<Cow<'_, [u8]>> {
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

/// The first of several places with a short printable text in it.
pub(crate) fn name_at(request: &Request<'_>, places: &[Place]) -> Option<String> {
    places.iter().find_map(|place| {
        let value = request.at(place).ok()??;
        let text = std::str::from_utf8(&value).ok()?;
        let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        (fits && !text.chars().any(char::is_control)).then(|| text.to_string())
    })
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
