//! A row of TOML read into a provider, with the line of whatever is wrong in it.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::mac::Hash;
use crate::scheme::{
    Component, Confidence, Delivery, Encoding, KeyForm, Kind, Node, ParseError, Place, Provider,
    Schedule, Scheme, SignedText, Strength, Template, Tolerance, Unit,
};

/// Longest row that is read, in bytes. Real ones stay under 4 KiB.
const MAX_ROW: usize = 64 << 10;
/// Most templates of one row, most places of a signature.
const MAX_LIST: usize = 6;
/// Most places of an event name or a delivery id.
const MAX_NAMES: usize = 12;

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
pub(crate) struct Row<'t> {
    name: &'t str,
    text: &'t str,
    table: DeTable<'t>,
}

impl<'t> Row<'t> {
    /// Only known keys are in it.
    pub(crate) fn read(name: &'t str, text: &'t str) -> Result<Row<'t>, ParseError> {
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

    pub(crate) fn provider(&self) -> Result<Provider, ParseError> {
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
