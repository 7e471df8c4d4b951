//! A body, laid out to read: JSON indented, forms as a table, text as it is, the rest as bytes.
//!
//! Only the layout changes. Numbers, escapes and repeated members of JSON stay spelled as they
//! came, because a signature covers the spelling.

use super::theme::Theme;
use crate::text::{self, visible, visible_bytes};
use capture::{Body, BodyEnd, Fields, field};
use ratatui::text::{Line, Span};

/// Bytes of a body that are laid out; the rest is in the store, and in what `y b` copies.
const SHOWN: usize = 1 << 20;
/// Lines of a body that are laid out.
const LINES: usize = 5_000;

/// The section's title and its lines.
pub(super) fn lines(
    fields: &Fields,
    body: &Body,
    exact: bool,
    width: usize,
    theme: Theme,
) -> (String, Vec<Line<'static>>) {
    if body.len == 0 && body.bytes.is_empty() {
        let mut out = Vec::new();
        if body.end == BodyEnd::Cut {
            out.push(Line::styled("cut before its first byte", theme.warn()));
        }
        return (String::from("no body"), out);
    }
    let bytes = body.bytes.get(..SHOWN).unwrap_or(&body.bytes);
    let kind = Kind::of(fields, bytes);
    let mut out = match (kind, std::str::from_utf8(bytes)) {
        (Kind::Json, Ok(text)) if !exact => json(text, theme),
        (Kind::Form, Ok(text)) if !exact => form(text, theme),
        (Kind::Binary, _) | (_, Err(_)) => hex(bytes, width, theme),
        (_, Ok(text)) => plain(text, exact),
    };
    let laid_out = out.len() < LINES;
    out.truncate(LINES);
    let mut note = |sentence: String| out.push(Line::styled(sentence, theme.warn()));
    if bytes.len() < body.bytes.len() || !laid_out {
        note(format!(
            "… {} in all; y b copies what was kept",
            text::bytes(body.bytes.len() as u64)
        ));
    }
    if (body.bytes.len() as u64) < body.len {
        note(format!(
            "only the first {} of {} were kept; your app got all of it",
            text::bytes(body.bytes.len() as u64),
            text::bytes(body.len)
        ));
    }
    if body.end == BodyEnd::Cut {
        note(String::from(
            "cut: the sender or the app went away before the end",
        ));
    }
    let mut title = format!("{} · {}", kind.word(), text::bytes(body.len));
    if matches!(kind, Kind::Json | Kind::Form) {
        title.push_str(match (exact, kind) {
            (true, _) => " · exact · b: laid out",
            (false, Kind::Form) => " · decoded · b: exact",
            (false, _) => " · b: exact",
        });
    }
    (title, out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Text,
    Binary,
}

impl Kind {
    /// By what the bytes are; the declared type only decides between form and text.
    fn of(fields: &Fields, bytes: &[u8]) -> Kind {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Kind::Binary;
        };
        let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if text.chars().filter(|c| odd(*c)).count() * 20 > text.len() {
            return Kind::Binary;
        }
        let first = text.trim_start().chars().next();
        let looks = matches!(first, Some('{' | '['));
        if looks && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            return Kind::Json;
        }
        let declared = field(fields, "content-type").map_or(&b""[..], |value| value);
        const FORM: &[u8] = b"application/x-www-form-urlencoded";
        if declared
            .get(..FORM.len())
            .is_some_and(|d| d.eq_ignore_ascii_case(FORM))
        {
            return Kind::Form;
        }
        Kind::Text
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Json => "JSON",
            Kind::Form => "form",
            Kind::Text => "text",
            Kind::Binary => "bytes",
        }
    }
}

fn plain(text: &str, exact: bool) -> Vec<Line<'static>> {
    let line = |line: &str| match exact {
        true => Line::raw(visible(line).into_owned()),
        false => {
            let line = line
                .strip_suffix('\r')
                .unwrap_or(line)
                .replace('\t', "    ");
            Line::raw(visible(&line).into_owned())
        }
    };
    text.split('\n').take(LINES).map(line).collect()
}

/// Indents valid JSON without touching a token.
fn json(text: &str, theme: Theme) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    let mut line: Line<'static> = Line::default();
    let mut depth = 0_usize;
    let mut rest = text.trim_start();
    let mut fresh = |line: &mut Line<'static>, depth: usize| {
        // Deep nesting stays readable: past 16 levels the indent no longer grows.
        let next = Line::raw("  ".repeat(depth.min(16)));
        out.push(std::mem::replace(line, next));
        out.len() < LINES
    };
    while let Some(c) = rest.chars().next() {
        let (token, after) = rest.split_at(token_len(rest, c));
        rest = after.trim_start();
        let go_on = match c {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                line.push_span(Span::styled(
                    if c == '{' { "{}" } else { "[]" },
                    theme.quiet(),
                ));
                rest = rest.get(1..).unwrap_or_default().trim_start();
                true
            }
            '{' | '[' => {
                depth += 1;
                line.push_span(Span::styled(token.to_owned(), theme.quiet()));
                fresh(&mut line, depth)
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                let go_on = fresh(&mut line, depth);
                line.push_span(Span::styled(token.to_owned(), theme.quiet()));
                go_on
            }
            ',' => {
                line.push_span(Span::styled(",", theme.quiet()));
                fresh(&mut line, depth)
            }
            ':' => {
                line.push_span(Span::styled(": ", theme.quiet()));
                true
            }
            _ => {
                let style = match c {
                    '"' if rest.starts_with(':') => theme.name(),
                    '"' => theme.string(),
                    '-' | '0'..='9' => theme.number(),
                    _ => theme.word(),
                };
                line.push_span(Span::styled(visible(token).into_owned(), style));
                true
            }
        };
        if !go_on {
            break;
        }
    }
    out.push(line);
    out
}

/// Bytes of the token at the start of `rest`, which begins with `first`.
fn token_len(rest: &str, first: char) -> usize {
    match first {
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        '"' => {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(at, _)| at + 1)
        }
        _ => rest
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"')
            })
            .unwrap_or(rest.len())
            .max(first.len_utf8()),
    }
}

/// `name = value`, decoded, the names in one column.
fn form(text: &str, theme: Theme) -> Vec<Line<'static>> {
    let decoded = |part: &str| visible_bytes(&percent_decode(part)).into_owned();
    let pairs: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(LINES)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    let widest = pairs
        .iter()
        .map(|(name, _)| text::width(name))
        .max()
        .unwrap_or(0)
        .min(28);
    pairs
        .into_iter()
        .map(|(name, value)| {
            let pad = widest.saturating_sub(text::width(&name));
            Line::from(vec![
                Span::styled(name, theme.name()),
                Span::styled(format!("{} = ", " ".repeat(pad)), theme.quiet()),
                Span::styled(value, theme.string()),
            ])
        })
        .collect()
}

/// As `application/x-www-form-urlencoded` has it: `+` is a space, `%XX` a byte; anything else
/// stays.
fn percent_decode(part: &str) -> Vec<u8> {
    let bytes = part.as_bytes();
    let nibble = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, nibble(at + 1), nibble(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// Offset, bytes, and what of them is ASCII; 8 a row where 16 would not fit.
fn hex(bytes: &[u8], width: usize, theme: Theme) -> Vec<Line<'static>> {
    let per_row = if width >= 76 { 16 } else { 8 };
    bytes
        .chunks(per_row)
        .take(LINES)
        .enumerate()
        .map(|(row, chunk)| {
            let hex: String = chunk.iter().map(|b| format!("{b:02x} ")).collect();
            let ascii = |b: &u8| {
                if (0x20..0x7f).contains(b) {
                    char::from(*b)
                } else {
                    '·'
                }
            };
            Line::from(vec![
                Span::styled(format!("{:08x}  ", row * per_row), theme.quiet()),
                Span::raw(format!("{hex:<w$} ", w = per_row * 3)),
                Span::styled(chunk.iter().map(ascii).collect::<String>(), theme.string()),
            ])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn shown(kind: &str, bytes: &[u8], exact: bool) -> (String, Vec<String>) {
        let fields = vec![(Bytes::from("content-type"), Bytes::from(kind.to_owned()))];
        let body = Body {
            bytes: Bytes::copy_from_slice(bytes),
            len: bytes.len() as u64,
            end: BodyEnd::Whole,
        };
        let (title, lines) = lines(&fields, &body, exact, 60, Theme::new(false));
        (title, lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn json_is_indented_and_every_token_kept() {
        let raw = br#"{"a":1.10,"big":12345678901234567890123,"u":"https:\/\/x","e":{},"l":[ ],"a":[true,null]}"#;
        let (title, lines) = shown("text/plain", raw, false);
        assert!(title.starts_with("JSON"), "{title}");
        assert_eq!(
            lines,
            [
                "{",
                r#"  "a": 1.10,"#,
                r#"  "big": 12345678901234567890123,"#,
                r#"  "u": "https:\/\/x","#,
                r#"  "e": {},"#,
                r#"  "l": [],"#,
                r#"  "a": ["#,
                "    true,",
                "    null",
                "  ]",
                "}"
            ]
        );
        let (_, lines) = shown("application/json", raw, true);
        assert_eq!(lines, [std::str::from_utf8(raw).unwrap()]);
    }

    #[test]
    fn json_strings_may_hold_quotes_and_escapes_stay_visible() {
        let raw = "{\"q\":\"a\\\"b\\\\\",\"x\":\"\u{202e}\"}";
        let (_, lines) = shown("application/json", raw.as_bytes(), false);
        assert_eq!(
            lines,
            ["{", r#"  "q": "a\"b\\","#, r#"  "x": "\u{202e}""#, "}"]
        );
    }

    #[test]
    fn forms_are_decoded_into_a_table() {
        let raw = b"From=%2B49151&Body=hi+there%1b&flag";
        let (title, lines) = shown(
            "application/x-www-form-urlencoded; charset=utf-8",
            raw,
            false,
        );
        assert!(title.contains("decoded"), "{title}");
        assert_eq!(lines, ["From = +49151", "Body = hi there\\x1b", "flag = "]);
    }

    #[test]
    fn bytes_are_a_hex_dump() {
        let (title, lines) = shown("image/png", b"\x89PNG\r\n\x1a\n\0", false);
        assert!(title.starts_with("bytes"), "{title}");
        assert_eq!(lines[0], "00000000  89 50 4e 47 0d 0a 1a 0a  ·PNG····");
        assert_eq!(lines[1].trim_end(), "00000008  00                       ·");
    }

    #[test]
    fn broken_json_is_text() {
        assert_eq!(shown("application/json", b"{\"a\":", false).1, ["{\"a\":"]);
    }
}
