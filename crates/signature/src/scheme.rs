//! The model: how one provider signs, as a row of data.
//!
//! ```toml
//! title = "Stripe"
//! sig = "header:Stripe-Signature"   # where the signature is
//! sig_list = ","                    # what separates the items in it
//! sig_pick = "v1="                  # which items are signatures
//! ts = "field:t"                    # where the time of signing is: another item
//! tol = 300                         # seconds
//! msg = "{ts}.{body}"               # the signed text
//! ```
//!
//! What every key means stands at [`Provider`].

use std::time::Duration;

use crate::mac::Hash;
use crate::row::Row;

/// One provider: how it signs, how long it waits and when it tries again.
///
/// Read from a row of TOML by [`Provider::parse`]:
///
/// | key | values; the default first |
/// | --- | --- |
/// | `title`, `source` | for people: the provider's name, and where the facts are from |
/// | `kind` | `hmac`, `digest`, `token`, `basic`, `none` |
/// | `hash` | `sha256`, `sha1`, `sha384`, `sha512` |
/// | `key` | how the pasted secret becomes bytes: `utf8`, `hex`, `base64`, `whsec` (strip the prefix if it is there, then base64), `whsec-or-utf8`, `utf8+base64` (either), `sha1` |
/// | `sig` | a place, or several |
/// | `sig_list` | separator of the items in the value |
/// | `sig_pick` | prefix that a signature item starts with, stripped; may name `{config:x}` |
/// | `sig_pick_optional` | `false`; `true`: items without the prefix count as well |
/// | `sig_positional` | `false`; `true`: item 0 is the timestamp |
/// | `enc` | `hex` (either case), `hex-lower`, `base64`, `base64url`, `base64(hex)` |
/// | `ts` | a place, or `field:x`: another item of the value |
/// | `ts_unit` | `s`, `ms`, `rfc3339`, `http-date` |
/// | `tol`, `tol_future` | seconds; none: the age is not checked. `tol_future` defaults to `tol` |
/// | `msg` | `{body}`; a template, or several tried in order |
/// | `code` | in place of `msg`, a reading that no template describes: `cloudvno` |
/// | `check` | pairs of components that must be equal if the first exists |
/// | `strength` | what a match proves: `body`, or `origin` (the default of `token` and `basic`) |
/// | `event` | a place, or several tried in order |
/// | `delivery` | likewise, or `derived` |
/// | `deadline` | how long the provider waits for the answer: `"10s"` |
/// | `retries` | delays after each failed attempt: `["1m", "5m"]`; `[]`: it never retries |
/// | `confidence` | `exact`, `estimate`: of `retries` |
/// | `after` | what happens when the last retry has failed |
///
/// A place is `header:N`, `header:N-*` (numbered), `form:f`, `json:path`, `query:q`; stages follow
/// with `|`: `form:json|json:event.hash`.
///
/// A template is text with components in braces: `body`, `ts`, `method`, `url`, `url.path`,
/// `url.pathq`, `url.noquery`, `url.port`, `secret`, any place, `field:x`, `config:x`,
/// `form.sorted`, `query.sorted`, `form.urlencoded`, `json.urlencoded`, `queryform.urlencoded`, and
/// the functions `sha256hex`, `sha256raw`, `sha1hex`, `jsonstr`, `lower`, `crc32`, `b64url` of one.
/// `[…]` is dropped when a component inside is absent, `{x?}` is empty when absent, `{{` and `}}`
/// are braces. Any other absent component makes the verdict `missing`.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) source: String,
    pub(crate) scheme: Scheme,
    pub(crate) event: Vec<Place>,
    pub(crate) delivery: Delivery,
    pub(crate) deadline: Option<Duration>,
    pub(crate) schedule: Schedule,
    pub(crate) after: Option<String>,
}

/// When a provider tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Not known.
    Unknown,
    /// It does not.
    Never,
    /// It does, so many times.
    Delays {
        /// Delay `k` counts from the end of failed attempt `k`. Never empty.
        delays: Vec<Duration>,
        /// How far to trust them.
        confidence: Confidence,
    },
}

/// How far to trust a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The provider states the delays.
    Exact,
    /// Told by others, or an example of the provider.
    Estimate,
}

/// What a match proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Who sent it, and that nobody changed it.
    Body,
    /// Who sent it; a changed body passes.
    Origin,
}

/// Why a row is no provider. Every variant says where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The text is not TOML, or too long.
    #[error("provider {provider}: line {line}: {message}")]
    Syntax {
        /// The name given for the row.
        provider: String,
        /// Counted from 1.
        line: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// A key that the model does not have.
    #[error("provider {provider}: line {line}: unknown key `{key}`{}", meant(.nearest))]
    UnknownKey {
        /// The name given for the row.
        provider: String,
        /// Counted from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A key with a value it cannot have.
    #[error("provider {provider}: line {line}: `{key}` {problem}")]
    Value {
        /// The name given for the row.
        provider: String,
        /// Counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// Keys that do not go together, or one that is not there.
    #[error("provider {provider}: {problem}")]
    Row {
        /// The name given for the row.
        provider: String,
        /// What is wrong, and what to add or drop.
        problem: String,
    },
}

fn meant(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

impl Provider {
    /// Reads one row: TOML with the keys above. The providers that are built in have the same form.
    ///
    /// # Errors
    ///
    /// [`ParseError`] with the line: not TOML, an unknown key, a value out of range, a kind that is
    /// not supported yet, keys that contradict each other.
    pub fn parse(name: &str, toml: &str) -> Result<Provider, ParseError> {
        Row::read(name, toml)?.provider()
    }

    /// The name in the configuration, such as `cloudvno`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name for people, such as `CloudVNO`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where the facts are from; empty if the row does not say.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How long the provider waits for the answer.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// When it tries again.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What happens when the last retry has failed, as a sentence.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// What a match proves.
    pub fn strength(&self) -> Strength {
        self.scheme.strength
    }

    /// The header that carries the signature, where it is one, in the provider's spelling.
    pub fn header(&self) -> Option<&str> {
        self.scheme.sig.iter().find_map(|place| match &place.first {
            Stage::Header(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// How a provider signs.
#[derive(Clone, Debug)]
pub(crate) struct Scheme {
    pub(crate) kind: Kind,
    pub(crate) hash: Hash,
    pub(crate) key: KeyForm,
    pub(crate) sig: Vec<Place>,
    pub(crate) list: Option<String>,
    pub(crate) pick: Option<Template>,
    pub(crate) pick_optional: bool,
    pub(crate) positional: bool,
    pub(crate) enc: Encoding,
    pub(crate) ts: Option<Component>,
    pub(crate) unit: Unit,
    pub(crate) tolerance: Option<Tolerance>,
    pub(crate) text: SignedText,
    pub(crate) check: Vec<(Component, Component)>,
    pub(crate) strength: Strength,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hmac,
    Digest,
    Token,
    Basic,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    Utf8,
    Hex,
    Base64,
    Whsec,
    WhsecOrUtf8,
    Utf8AndBase64,
    Sha1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Hex,
    HexLower,
    Base64,
    Base64Url,
    Base64Hex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Rfc3339,
    HttpDate,
}

/// Seconds on both sides of the time of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tolerance {
    pub(crate) past: i64,
    pub(crate) future: i64,
}

/// What is signed.
#[derive(Clone, Debug)]
pub(crate) enum SignedText {
    Templates(Vec<Template>),
    CloudVno,
}

/// Where the provider's own id of a delivery is.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    Places(Vec<Place>),
    /// There is none; URL, signature and body stand in for it.
    Derived,
}

/// A location in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) first: Stage,
    /// Read out of what the stage before found.
    pub(crate) then: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Header(String),
    /// The part before the number.
    NumberedHeader(String),
    Form(String),
    Json(Vec<String>),
    Query(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Template(pub(crate) Vec<Node>);

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Literal(Vec<u8>),
    Component {
        what: Component,
        optional: bool,
    },
    /// Dropped when a component inside is absent.
    Group(Vec<Node>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Body,
    Ts,
    Method,
    Url,
    UrlPath,
    UrlPathQuery,
    UrlNoQuery,
    UrlPort,
    Secret,
    Place(Place),
    Field(String),
    Config(String),
    FormSorted,
    QuerySorted,
    FormUrlencoded,
    JsonUrlencoded,
    QueryFormUrlencoded,
    Call(Function, Box<Component>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sha256Hex,
    Sha256Raw,
    Sha1Hex,
    JsonStr,
    Lower,
    Crc32,
    B64Url,
}

impl Template {
    /// Whether a component for which `wanted` holds is in it, however deep.
    pub(crate) fn any(&self, wanted: &dyn Fn(&Component) -> bool) -> bool {
        self.components().iter().any(|what| wanted(what))
    }

    /// The components in order, those within functions and groups included.
    pub(crate) fn components(&self) -> Vec<&Component> {
        fn of<'n>(nodes: &'n [Node], out: &mut Vec<&'n Component>) {
            for node in nodes {
                match node {
                    Node::Literal(_) => {}
                    Node::Group(nodes) => of(nodes, out),
                    Node::Component { what, .. } => {
                        let mut what = what;
                        while let Component::Call(_, inner) = what {
                            what = inner;
                        }
                        out.push(what);
                    }
                }
            }
        }
        let mut out = Vec::new();
        of(&self.0, &mut out);
        out
    }

    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut chars = text.chars().peekable();
        let mut outer: Vec<Node> = Vec::new();
        let mut group: Option<Vec<Node>> = None;
        let mut literal = String::new();
        while let Some(next) = chars.next() {
            let doubled = chars.peek() == Some(&next);
            match next {
                '{' | '}' if doubled => {
                    chars.next();
                    literal.push(next);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some('{') | None => {
                                return Err(format!("has no `}}` after `{{{name}`"));
                            }
                            Some(other) => name.push(other),
                        }
                    }
                    let nodes = group.as_mut().unwrap_or(&mut outer);
                    flush(&mut literal, nodes);
                    let (name, optional) = name
                        .strip_suffix('?')
                        .map_or((name.as_str(), false), |name| (name, true));
                    nodes.push(Node::Component {
                        what: Component::parse(name)?,
                        optional,
                    });
                }
                '}' => return Err("has a `}` alone; write `}}` for a brace".into()),
                '[' => {
                    flush(&mut literal, &mut outer);
                    if group.replace(Vec::new()).is_some() {
                        return Err("has a `[` within `[…]`".into());
                    }
                }
                ']' => {
                    let mut nodes = group.take().ok_or("has a `]` without `[`")?;
                    flush(&mut literal, &mut nodes);
                    outer.push(Node::Group(nodes));
                }
                other => literal.push(other),
            }
        }
        if group.is_some() {
            return Err("has a `[` without `]`".into());
        }
        flush(&mut literal, &mut outer);
        Ok(Template(outer))
    }
}

fn flush(literal: &mut String, nodes: &mut Vec<Node>) {
    if !literal.is_empty() {
        nodes.push(Node::Literal(std::mem::take(literal).into_bytes()));
    }
}

impl Component {
    pub(crate) fn parse(text: &str) -> Result<Component, String> {
        if let Some(inner) = text.strip_suffix(')') {
            let (name, inner) = inner.split_once('(').ok_or("has a `)` without `(`")?;
            let function = FUNCTIONS
                .iter()
                .find(|known| known.0 == name)
                .ok_or_else(|| {
                    let known: Vec<_> = FUNCTIONS.iter().map(|known| known.0).collect();
                    format!("has no function `{name}`; there are {}", known.join(", "))
                })?;
            return Ok(Component::Call(
                function.1,
                Box::new(Component::parse(inner)?),
            ));
        }
        if let Some(known) = COMPONENTS.iter().find(|known| known.0 == text) {
            return Ok(known.1.clone());
        }
        match text.split_once(':') {
            Some(("field", name)) if !name.is_empty() => Ok(Component::Field(name.into())),
            Some(("config", name)) if !name.is_empty() => Ok(Component::Config(name.into())),
            Some(_) => Place::parse(text).map(Component::Place),
            None => {
                let known: Vec<_> = COMPONENTS.iter().map(|known| known.0).collect();
                Err(format!(
                    "has no component `{text}`; there are {}, and header:, form:, json:, query:, \
                     field:, config:",
                    known.join(", ")
                ))
            }
        }
    }
}

impl Component {
    /// As a template names it; empty for those that carry a name of their own.
    pub(crate) fn name(&self) -> &'static str {
        COMPONENTS
            .iter()
            .find(|known| known.1 == *self)
            .map_or("", |known| known.0)
    }
}

impl Function {
    /// As a template names it.
    pub(crate) fn name(self) -> &'static str {
        FUNCTIONS
            .iter()
            .find(|known| known.1 == self)
            .map_or("", |known| known.0)
    }
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("sha256hex", Function::Sha256Hex),
    ("sha256raw", Function::Sha256Raw),
    ("sha1hex", Function::Sha1Hex),
    ("jsonstr", Function::JsonStr),
    ("lower", Function::Lower),
    ("crc32", Function::Crc32),
    ("b64url", Function::B64Url),
];

const COMPONENTS: &[(&str, Component)] = &[
    ("body", Component::Body),
    ("ts", Component::Ts),
    ("method", Component::Method),
    ("url", Component::Url),
    ("url.path", Component::UrlPath),
    ("url.pathq", Component::UrlPathQuery),
    ("url.noquery", Component::UrlNoQuery),
    ("url.port", Component::UrlPort),
    ("secret", Component::Secret),
    ("form.sorted", Component::FormSorted),
    ("query.sorted", Component::QuerySorted),
    ("form.urlencoded", Component::FormUrlencoded),
    ("json.urlencoded", Component::JsonUrlencoded),
    ("queryform.urlencoded", Component::QueryFormUrlencoded),
];

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Place, String> {
        let mut stages = text.split('|').map(Stage::parse);
        let first = stages.next().ok_or("is empty")??;
        let then = stages.collect::<Result<Vec<_>, _>>()?;
        let header = |stage: &Stage| matches!(stage, Stage::Header(_) | Stage::NumberedHeader(_));
        if then.iter().any(header) {
            return Err("has `header:` after a `|`; a header stands first".into());
        }
        Ok(Place { first, then })
    }
}

impl Stage {
    pub(crate) fn parse(text: &str) -> Result<Stage, String> {
        let (kind, name) = text
            .split_once(':')
            .filter(|part| !part.1.is_empty())
            .ok_or_else(|| {
                format!("has no place `{text}`; write header:N, form:f, json:path or query:q")
            })?;
        Ok(match kind {
            "header" => match name.strip_suffix("-*") {
                Some(before) => Stage::NumberedHeader(format!("{before}-")),
                None => Stage::Header(name.into()),
            },
            "form" => Stage::Form(name.into()),
            "json" => Stage::Json(name.split('.').map(String::from).collect()),
            "query" => Stage::Query(name.into()),
            _ => {
                return Err(format!(
                    "has no place `{kind}:`; there are header:, form:, json:, query:"
                ));
            }
        })
    }
}
