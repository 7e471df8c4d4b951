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
//! | key | values; the default first |
//! | --- | --- |
//! | `title`, `source` | for people: the provider's name, and where the facts are from |
//! | `kind` | `hmac`, `digest`, `token`, `basic`, `none` |
//! | `hash` | `sha256`, `sha1`, `sha384`, `sha512` |
//! | `key` | how the pasted secret becomes bytes: `utf8`, `hex`, `base64`, `whsec` (strip the prefix if it is there, then base64), `whsec-or-utf8`, `utf8+base64` (either), `sha1` |
//! | `sig` | a place, or several |
//! | `sig_list` | separator of the items in the value |
//! | `sig_pick` | prefix that a signature item starts with, stripped; may name `{config:x}` |
//! | `sig_pick_optional` | `false`; `true`: items without the prefix count as well |
//! | `sig_positional` | `false`; `true`: item 0 is the timestamp |
//! | `enc` | `hex` (either case), `hex-lower`, `base64`, `base64url`, `base64(hex)` |
//! | `ts` | a place, or `field:x`: another item of the value |
//! | `ts_unit` | `s`, `ms`, `rfc3339`, `http-date` |
//! | `tol`, `tol_future` | seconds; none: the age is not checked. `tol_future` defaults to `tol` |
//! | `msg` | `{body}`; a template, or several tried in order |
//! | `code` | in place of `msg`, a reading that no template describes: `cloudvno` |
//! | `check` | pairs of components that must be equal if the first exists |
//! | `strength` | what a match proves: `body`, or `origin` (the default of `token` and `basic`) |
//! | `event` | a place, or several tried in order |
//! | `delivery` | likewise, or `derived` |
//! | `deadline` | how long the provider waits for the answer: `"10s"` |
//! | `retries` | delays after each failed attempt: `["1m", "5m"]`; `[]`: it never retries |
//! | `confidence` | `exact`, `estimate`: of `retries` |
//! | `after` | what happens when the last retry has failed |
//!
//! A place is `header:N`, `header:N-*` (numbered), `form:f`, `json:path`, `query:q`; stages follow
//! with `|`: `form:json|json:event.hash`.
//!
//! A template is text with components in braces: `body`, `ts`, `method`, `url`, `url.path`,
//! `url.pathq`, `url.noquery`, `url.port`, `secret`, any place, `field:x`, `config:x`,
//! `form.sorted`, `query.sorted`, `form.urlencoded`, `json.urlencoded`, `queryform.urlencoded`, and
//! the functions `sha256hex`, `sha256raw`, `sha1hex`, `jsonstr`, `lower`, `crc32`, `b64url` of one.
//! `[…]` is dropped when a component inside is absent, `{x?}` is empty when absent, `{{` and `}}`
//! are braces. Any other absent component makes the verdict `missing`.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::mac::Hash;

/// Longest row that is read, in bytes. Real ones stay under 4 KiB.
const MAX_ROW: usize = 64 << 10;
/// Most templates of one row, most places of a signature.
const MAX_LIST: usize = 6;
/// Most places of an event name or a delivery id.
const MAX_NAMES: usize = 12;

/// One provider: how it signs, how long it waits and when it tries again.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) source: String,
    pub(crate) scheme: Scheme,
    pub(crate) event: Vec<Place>,
    pub(crate) delivery: Delivery,
    deadline: Option<Duration>,
    schedule: Schedule,
    after: Option<String>,
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
    /// Reads one row of the model. The text is TOML with the keys of the table at the top of
    /// `scheme.rs`; the providers that are built in have the same form.
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

    fn parse(text: &str) -> Result<Template, String> {
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
    fn parse(text: &str) -> Result<Component, String> {
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
    fn parse(text: &str) -> Result<Place, String> {
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
    fn parse(text: &str) -> Result<Stage, String> {
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

/// Everything a row may say.
const KEYS: &[&str] = &[
    "title",
    "source",
    "kind",
    "hash",
    "key",
    "sig",
    "sig_list",
    "sig_pick",
    "sig_pick_optional",
    "sig_positional",
    "enc",
    "ts",
    "ts_unit",
    "tol",
    "tol_future",
    "msg",
    "code",
    "check",
    "strength",
    "event",
    "delivery",
    "deadline",
    "retries",
    "confidence",
    "after",
];

/// One row while it is read: the table, and where its lines are.
struct Row<'t> {
    name: &'t str,
    text: &'t str,
    table: DeTable<'t>,
}

impl<'t> Row<'t> {
    fn read(name: &'t str, text: &'t str) -> Result<Row<'t>, ParseError> {
        let syntax = |line, message: &str| ParseError::Syntax {
            provider: name.into(),
            line,
            message: message.into(),
        };
        if text.len() > MAX_ROW {
            return Err(syntax(
                1,
                "a row of more than 64 KiB; is this the right file?",
            ));
        }
        let table = DeTable::parse(text).map_err(|error| {
            syntax(
                line_of(text, error.span().map_or(0, |span| span.start)),
                error.message(),
            )
        })?;
        let row = Row {
            name,
            text,
            table: table.into_inner(),
        };
        let mut keys: Vec<_> = row.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        for key in keys {
            let written: &str = key.get_ref();
            if !KEYS.contains(&written) {
                return Err(ParseError::UnknownKey {
                    provider: name.into(),
                    line: line_of(text, key.span().start),
                    key: written.into(),
                    nearest: nearest(written),
                });
            }
        }
        Ok(row)
    }

    fn provider(&self) -> Result<Provider, ParseError> {
        let title = self.text("title")?.unwrap_or(self.name).to_string();
        let source = self.text("source")?.unwrap_or_default().to_string();
        let scheme = self.scheme()?;
        let event = self.many("event", MAX_NAMES, Place::parse)?;
        let delivery = match self.text_if_one("delivery") {
            Some("derived") => Delivery::Derived,
            _ => Delivery::Places(self.many("delivery", MAX_NAMES, Place::parse)?),
        };
        Ok(Provider {
            name: self.name.into(),
            title,
            source,
            scheme,
            event,
            delivery,
            deadline: self.with("deadline", duration)?,
            schedule: self.schedule()?,
            after: self.text("after")?.map(String::from),
        })
    }

    fn scheme(&self) -> Result<Scheme, ParseError> {
        let kind = self.word(
            "kind",
            &[
                ("hmac", Kind::Hmac),
                ("digest", Kind::Digest),
                ("token", Kind::Token),
                ("basic", Kind::Basic),
                ("none", Kind::None),
            ],
            &["ed25519", "ecdsa", "rsa", "rsa-pss", "jwt"],
        )?;
        let hash = self.word(
            "hash",
            &[
                ("sha256", Hash::Sha256),
                ("sha1", Hash::Sha1),
                ("sha384", Hash::Sha384),
                ("sha512", Hash::Sha512),
            ],
            &["md5"],
        )?;
        let key = self.word(
            "key",
            &[
                ("utf8", KeyForm::Utf8),
                ("hex", KeyForm::Hex),
                ("base64", KeyForm::Base64),
                ("whsec", KeyForm::Whsec),
                ("whsec-or-utf8", KeyForm::WhsecOrUtf8),
                ("utf8+base64", KeyForm::Utf8AndBase64),
                ("sha1", KeyForm::Sha1),
            ],
            &[],
        )?;
        let enc = self.word(
            "enc",
            &[
                ("hex", Encoding::Hex),
                ("hex-lower", Encoding::HexLower),
                ("base64", Encoding::Base64),
                ("base64url", Encoding::Base64Url),
                ("base64(hex)", Encoding::Base64Hex),
            ],
            &[],
        )?;
        let unit = self.word(
            "ts_unit",
            &[
                ("s", Unit::Seconds),
                ("ms", Unit::Milliseconds),
                ("rfc3339", Unit::Rfc3339),
                ("http-date", Unit::HttpDate),
            ],
            &[],
        )?;
        let by_kind = match kind.unwrap_or(Kind::Hmac) {
            Kind::Hmac | Kind::Digest => Strength::Body,
            Kind::Token | Kind::Basic | Kind::None => Strength::Origin,
        };
        let strength = self.word(
            "strength",
            &[("body", Strength::Body), ("origin", Strength::Origin)],
            &[],
        )?;
        let code = self.word("code", &[("cloudvno", ())], &[])?;
        let mut templates = self.list("msg", Template::parse)?;
        if code.is_some() && !templates.is_empty() {
            return Err(self.row("`code` stands in place of `msg`; drop one of them"));
        }
        if templates.is_empty() {
            templates.push(Template(vec![Node::Component {
                what: Component::Body,
                optional: false,
            }]));
        }
        let tolerance = match (self.number("tol")?, self.number("tol_future")?) {
            (Some(past), future) => Some(Tolerance {
                past,
                future: future.unwrap_or(past),
            }),
            (None, Some(_)) => return Err(self.row("`tol_future` needs `tol` beside it")),
            (None, None) => None,
        };
        let scheme = Scheme {
            kind: kind.unwrap_or(Kind::Hmac),
            hash: hash.unwrap_or(Hash::Sha256),
            key: key.unwrap_or(KeyForm::Utf8),
            sig: self.list("sig", Place::parse)?,
            list: self.with("sig_list", |text| {
                if text.is_empty() {
                    Err("is empty; name the separator".into())
                } else {
                    Ok(text.into())
                }
            })?,
            pick: self.with("sig_pick", Template::parse)?,
            pick_optional: self.flag("sig_pick_optional")?,
            positional: self.flag("sig_positional")?,
            enc: enc.unwrap_or(Encoding::Hex),
            ts: self.with("ts", Component::parse)?,
            unit: unit.unwrap_or(Unit::Seconds),
            tolerance,
            text: if code.is_some() {
                SignedText::CloudVno
            } else {
                SignedText::Templates(templates)
            },
            check: self.checks()?,
            strength: strength.unwrap_or(by_kind),
        };
        self.sound(&scheme)?;
        Ok(scheme)
    }

    /// What no single key shows.
    fn sound(&self, scheme: &Scheme) -> Result<(), ParseError> {
        if scheme.kind == Kind::None {
            return Ok(());
        }
        if scheme.sig.is_empty() {
            return Err(self.row(
                "`sig` is missing; say where the signature is, as in sig = \"header:X-Signature\"",
            ));
        }
        let uses = |wanted: &dyn Fn(&Component) -> bool| match &scheme.text {
            SignedText::Templates(templates) => templates.iter().any(|t| t.any(wanted)),
            SignedText::CloudVno => false,
        };
        let hashes = matches!(scheme.kind, Kind::Hmac | Kind::Digest);
        if scheme.ts.is_none() && hashes && uses(&|what| *what == Component::Ts) {
            return Err(self.row("`msg` has {ts}, and `ts` is missing; say where the timestamp is"));
        }
        if scheme.ts.is_none() && scheme.tolerance.is_some() {
            return Err(self.row("`tol` needs `ts`; say where the timestamp is"));
        }
        match &scheme.ts {
            None | Some(Component::Place(_) | Component::Field(_)) => {}
            Some(_) => return Err(self.row("`ts` must be a place or field:x")),
        }
        if scheme.kind == Kind::Digest && !uses(&|what| *what == Component::Secret) {
            // Anybody can hash what he sends.
            return Err(self.row("a digest without {secret} in `msg` proves nothing; add it"));
        }
        if matches!(scheme.text, SignedText::CloudVno) && scheme.kind != Kind::Hmac {
            return Err(self.row("`code` needs kind = \"hmac\""));
        }
        Ok(())
    }

    fn schedule(&self) -> Result<Schedule, ParseError> {
        let confidence = self.word(
            "confidence",
            &[
                ("exact", Confidence::Exact),
                ("estimate", Confidence::Estimate),
            ],
            &[],
        )?;
        if self.table.get("retries").is_none() {
            return Ok(Schedule::Unknown);
        }
        let delays = self.many("retries", 64, duration)?;
        if delays.is_empty() {
            return Ok(Schedule::Never);
        }
        Ok(Schedule::Delays {
            delays,
            confidence: confidence.unwrap_or(Confidence::Exact),
        })
    }

    fn checks(&self) -> Result<Vec<(Component, Component)>, ParseError> {
        let Some(value) = self.table.get("check") else {
            return Ok(Vec::new());
        };
        let wrong = || {
            self.value(
                "check",
                "must be a list of pairs, as in [[\"header:X-Key\", \"config:key\"]]".into(),
            )
        };
        let pairs = value.get_ref().as_array().ok_or_else(wrong)?;
        if pairs.len() > MAX_LIST {
            return Err(self.value("check", format!("has more than {MAX_LIST} pairs")));
        }
        let mut out = Vec::new();
        for pair in pairs {
            let pair = pair.get_ref().as_array().ok_or_else(wrong)?;
            let sides: Option<Vec<&str>> =
                pair.iter().map(|side| side.get_ref().as_str()).collect();
            let Some([left, right]) = sides.as_deref() else {
                return Err(wrong());
            };
            let parse =
                |text: &str| Component::parse(text).map_err(|problem| self.value("check", problem));
            out.push((parse(left)?, parse(right)?));
        }
        Ok(out)
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ParseError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(self.value(key, "must be a text in quotes".into())),
            },
        }
    }

    fn text_if_one(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.get_ref().as_str()
    }

    fn with<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ParseError> {
        self.text(key)?
            .map(|text| parse(text).map_err(|problem| self.value(key, problem)))
            .transpose()
    }

    /// A text, or a list of them.
    fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ParseError> {
        self.many(key, MAX_LIST, parse)
    }

    fn many<T>(
        &self,
        key: &str,
        most: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ParseError> {
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let texts: Option<Vec<&str>> = match value.get_ref() {
            DeValue::String(text) => Some(vec![text]),
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
            _ => None,
        };
        let texts = texts
            .ok_or_else(|| self.value(key, "must be a text in quotes, or a list of them".into()))?;
        if texts.len() > most {
            return Err(self.value(
                key,
                format!("has {} items; at most {most} are tried", texts.len()),
            ));
        }
        texts
            .into_iter()
            .map(|text| parse(text).map_err(|problem| self.value(key, problem)))
            .collect()
    }

    fn flag(&self, key: &str) -> Result<bool, ParseError> {
        match self.table.get(key).map(|value| value.get_ref().as_bool()) {
            None => Ok(false),
            Some(Some(flag)) => Ok(flag),
            Some(None) => Err(self.value(key, "must be true or false".into())),
        }
    }

    /// Whole seconds.
    fn number(&self, key: &str) -> Result<Option<i64>, ParseError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|seconds| (0..=9_999_999_999).contains(seconds));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.value(key, "must be whole seconds, from 0".into())),
        }
    }

    fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        later: &[&str],
    ) -> Result<Option<T>, ParseError> {
        self.with(key, |text| {
            if let Some(found) = words.iter().find(|word| word.0 == text) {
                return Ok(found.1);
            }
            let known: Vec<_> = words.iter().map(|word| word.0).collect();
            let known = known.join(", ");
            Err(if later.contains(&text) {
                format!("is \"{text}\", which is not supported yet; supported are {known}")
            } else {
                format!("is \"{text}\"; allowed are {known}")
            })
        })
    }

    fn value(&self, key: &str, problem: String) -> ParseError {
        let line = self
            .table
            .get_key_value(key)
            .map_or(1, |(key, _)| line_of(self.text, key.span().start));
        ParseError::Value {
            provider: self.name.into(),
            line,
            key: key.into(),
            problem,
        }
    }

    fn row(&self, problem: &str) -> ParseError {
        ParseError::Row {
            provider: self.name.into(),
            problem: problem.into(),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

fn nearest(written: &str) -> Option<&'static str> {
    let scored = KEYS
        .iter()
        .map(|key| (strsim::jaro_winkler(written, key), *key));
    let (score, key) = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    // Below this the resemblance is an accident.
    (score > 0.75).then_some(key)
}

/// `"90s"`, `"5m"`, `"2h"`, `"1d"`, `"500ms"`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("has \"{text}\"; write a time such as \"90s\", \"5m\" or \"2h\"");
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u32 = text[..end].parse().map_err(|_| wrong())?;
    let number = u64::from(number);
    Ok(match &text[end..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        "d" => Duration::from_secs(number * 86_400),
        _ => return Err(wrong()),
    })
}
