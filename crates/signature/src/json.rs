//! A JSON reader that keeps what a signature may depend on.
//!
//! Numbers keep their text, so an integer of any size and `1.50` stay as they came. Texts keep lone
//! surrogates, for CPython reads them and so must we to say what it would do. `NaN`, `Infinity` and
//! `-Infinity` are read, as `json.loads` reads them. Of a repeated name the last value wins and the
//! first place stays.
//!
//! Bounded in depth, size and number of values; beyond a bound the text is no JSON to us.

use std::collections::HashMap;

/// Deepest nesting that is read. CPython stops near 1,000; no webhook comes close to 128.
const MAX_DEPTH: usize = 128;
/// Longest text that is read, in bytes. The tree takes a few times as much memory.
const MAX_BYTES: usize = 4 << 20;
/// Most values in one text, so that `[[],[],…` cannot turn 4 MiB into 100.
const MAX_VALUES: usize = 200_000;

/// A text as code points, for JSON may escape half of a surrogate pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Vec<u32>);

impl Text {
    pub(crate) fn codes(&self) -> &[u32] {
        &self.0
    }

    /// As UTF-8; `None` if a lone surrogate is in it.
    pub(crate) fn to_utf8(&self) -> Option<String> {
        self.0.iter().map(|&code| char::from_u32(code)).collect()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.chars().map(u32::from).collect())
    }
}

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// The number as it was written, or `NaN`, `Infinity`, `-Infinity`.
    Number(String),
    Text(Text),
    List(Vec<Json>),
    Map(Vec<(Text, Json)>),
}

impl Json {
    /// Reads a whole text. A UTF-8 byte order mark before it is skipped, as `json.loads` does for
    /// bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Json> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader {
            text,
            at: 0,
            values: 0,
        };
        let value = reader.value(0)?;
        reader.blanks();
        (reader.at == text.len()).then_some(value)
    }

    /// The value at a path of names and list positions, such as `["data", "0", "id"]`.
    pub(crate) fn at(&self, path: &[String]) -> Option<&Json> {
        path.iter().try_fold(self, |value, step| match value {
            Json::Map(fields) => {
                let step = Text::from(step.as_str());
                fields
                    .iter()
                    .find(|(name, _)| *name == step)
                    .map(|(_, value)| value)
            }
            Json::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// A single value as text: numbers as written, `true`, `false`; `None` for the rest.
    pub(crate) fn plain(&self) -> Option<String> {
        match self {
            Json::Text(text) => text.to_utf8(),
            Json::Number(text) => Some(text.clone()),
            Json::Bool(value) => Some(value.to_string()),
            Json::Null | Json::List(_) | Json::Map(_) => None,
        }
    }

    /// Writes the value again in a given style, numbers as they came.
    pub(crate) fn write(&self, style: Style) -> String {
        let mut out = String::new();
        self.write_to(style, 0, &mut out);
        out
    }

    fn write_to(&self, style: Style, depth: usize, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(text) => out.push_str(text),
            Json::Text(text) => quote(text.codes(), style, out),
            Json::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    style.item(index, depth + 1, out);
                    item.write_to(style, depth + 1, out);
                }
                style.end(items.is_empty(), depth, out);
                out.push(']');
            }
            Json::Map(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if style.sorted {
                    fields.sort_by(|left, right| left.0.cmp(&right.0));
                }
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    style.item(index, depth + 1, out);
                    quote(name.codes(), style, out);
                    out.push_str(if style.gap == Gap::None { ":" } else { ": " });
                    value.write_to(style, depth + 1, out);
                }
                style.end(fields.is_empty(), depth, out);
                out.push('}');
            }
        }
    }
}

/// How a library writes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) gap: Gap,
    /// Names in order of code points.
    pub(crate) sorted: bool,
    /// Everything beyond ASCII as `\u`, as Python and PHP do by default.
    pub(crate) ascii: bool,
    /// `/` as `\/`, as PHP does by default.
    pub(crate) slash: bool,
}

/// What stands between the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// `{"a":1,"b":2}`: JavaScript, Go, Rust, PHP.
    None,
    /// `{"a": 1, "b": 2}`: Python.
    Space,
    /// One field a line, indented by so many blanks.
    Lines(usize),
}

impl Style {
    pub(crate) const COMPACT: Style = Style {
        gap: Gap::None,
        sorted: false,
        ascii: false,
        slash: false,
    };

    fn item(self, index: usize, depth: usize, out: &mut String) {
        if index > 0 {
            out.push_str(if self.gap == Gap::Space { ", " } else { "," });
        }
        self.line(depth, out);
    }

    fn end(self, empty: bool, depth: usize, out: &mut String) {
        if !empty {
            self.line(depth, out);
        }
    }

    fn line(self, depth: usize, out: &mut String) {
        if let Gap::Lines(width) = self.gap {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    }
}

/// Writes a text in quotes as `JSON.stringify` does, then as the style asks.
pub(crate) fn quote(codes: &[u32], style: Style, out: &mut String) {
    out.push('"');
    for &code in codes {
        match char::from_u32(code) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('/') if style.slash => out.push_str("\\/"),
            Some(other) if other < ' ' => out.push_str(&format!("\\u{code:04x}")),
            Some(other) if style.ascii && !other.is_ascii() => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            Some(other) => out.push(other),
            None => out.push_str(&format!("\\u{code:04x}")),
        }
    }
    out.push('"');
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return None;
        }
        self.blanks();
        match self.peek()? {
            b'{' => self.map(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Json::Text),
            b't' => self.word("true").then_some(Json::Bool(true)),
            b'f' => self.word("false").then_some(Json::Bool(false)),
            b'n' => self.word("null").then_some(Json::Null),
            _ => self.number(),
        }
    }

    fn map(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut fields: Vec<(Text, Json)> = Vec::new();
        let mut places: HashMap<Text, usize> = HashMap::new();
        self.blanks();
        if self.eat(b'}') {
            return Some(Json::Map(fields));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            if !self.eat(b':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            match places.get(&name) {
                Some(&place) => fields[place].1 = value,
                None => {
                    places.insert(name.clone(), fields.len());
                    fields.push((name, value));
                }
            }
            self.blanks();
            if self.eat(b'}') {
                return Some(Json::Map(fields));
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.eat(b']') {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.eat(b']') {
                return Some(Json::List(items));
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<Text> {
        if !self.eat(b'"') {
            return None;
        }
        let mut codes: Vec<u32> = Vec::new();
        loop {
            let next = self.text[self.at..].chars().next()?;
            self.at += next.len_utf8();
            match next {
                '"' => return Some(Text(codes)),
                '\\' => codes.push(self.escape()?),
                // `strict` of CPython: control characters must be escaped.
                control if control < ' ' => return None,
                other => codes.push(u32::from(other)),
            }
        }
    }

    fn escape(&mut self) -> Option<u32> {
        let letter = self.peek()?;
        self.at += 1;
        Some(u32::from(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let high = self.unit()?;
                if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        return Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                    }
                    self.at = back;
                }
                return Some(high);
            }
            _ => return None,
        }))
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, &digit| {
            Some(sum << 4 | char::from(digit).to_digit(16)?)
        })
    }

    fn number(&mut self) -> Option<Json> {
        for word in ["NaN", "Infinity", "-Infinity"] {
            if self.word(word) {
                return Some(Json::Number(word.into()));
            }
        }
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') && !self.digits() {
            return None;
        }
        let whole = self.at;
        if !(self.eat(b'.') && self.digits()) {
            self.at = whole;
        }
        let fraction = self.at;
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            if !self.digits() {
                self.at = fraction;
            }
        }
        Some(Json::Number(self.text[start..self.at].into()))
    }

    /// Takes decimal digits; whether there were any.
    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn blanks(&mut self) {
        while self
            .peek()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text() {
        for number in [
            "0",
            "-0",
            "1.50",
            "1E2",
            "1e+400",
            "123456789012345678901234567890",
            "NaN",
        ] {
            assert_eq!(
                Json::parse(number.as_bytes()),
                Some(Json::Number(number.into()))
            );
        }
        for wrong in ["01", "1.", ".5", "+1", "1e", "--1", "nan", ""] {
            assert_eq!(Json::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_name_wins_in_the_first_place() {
        let json = Json::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(json.write(Style::COMPACT), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn surrogates_pair_up_or_stay_alone() {
        let pair = Json::parse(br#""\ud83d\ude00""#).unwrap();
        assert_eq!(pair.plain().as_deref(), Some("\u{1f600}"));
        let alone = Json::parse(br#""\ud83d\u0041""#).unwrap();
        assert_eq!(alone, Json::Text(Text(vec![0xd83d, 0x41])));
        assert_eq!(alone.plain(), None);
    }

    #[test]
    fn too_deep_is_no_json() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Json::parse(deep(100).as_bytes()).is_some());
        assert!(Json::parse(deep(1_000_000).as_bytes()).is_none());
    }

    #[test]
    fn a_path_leads_through_maps_and_lists() {
        let json = Json::parse(br#"{"a":[{"b":true}]}"#).unwrap();
        let path = ["a", "0", "b"].map(String::from);
        assert_eq!(
            json.at(&path).and_then(Json::plain).as_deref(),
            Some("true")
        );
    }
}
