//! What CPython 3.11 does, to the byte: `quote_plus`, `urlencode`, `str` and `repr`.
//!
//! CloudVNO's signed text is printed by these functions, so a difference in one digit is a
//! signature that does not match. Source: measured on CPython 3.11.

use crate::json::{Json, Text};
use crate::unprintable::is_printable;

/// Longest integer that CPython turns into text or reads from it; above it raises.
const MAX_INT_DIGITS: usize = 4300;

/// `urllib.parse.quote_plus` of a text.
pub(crate) fn quote_plus(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        match byte {
            b' ' => out.push('+'),
            b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// `urllib.parse.urlencode` of pairs in the order given.
pub(crate) fn urlencode<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        quote_plus(name.as_ref(), &mut out);
        out.push('=');
        quote_plus(value.as_ref(), &mut out);
    }
    out
}

/// `str` of a value from `json.loads`. `None` where CPython would raise, or where the result
/// could not be encoded: a lone surrogate, an integer above 4300 digits.
pub(crate) fn str_of(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => text.to_utf8(),
        other => {
            let mut out = String::new();
            repr(other, &mut out)?;
            Some(out)
        }
    }
}

/// Whether `json.loads` reads all of it: an integer above 4300 digits raises wherever it stands.
pub(crate) fn loads(value: &Json) -> bool {
    match value {
        Json::Number(text) => number(text).is_some(),
        Json::List(items) => items.iter().all(loads),
        Json::Map(fields) => fields.iter().all(|(_, value)| loads(value)),
        Json::Null | Json::Bool(_) | Json::Text(_) => true,
    }
}

fn repr(value: &Json, out: &mut String) -> Option<()> {
    match value {
        Json::Null => out.push_str("None"),
        Json::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
        Json::Number(text) => out.push_str(&number(text)?),
        Json::Text(text) => repr_text(text, out),
        Json::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(item, out)?;
            }
            out.push(']');
        }
        Json::Map(fields) => {
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr_text(name, out);
                out.push_str(": ");
                repr(value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

/// A JSON number as CPython prints what `json.loads` makes of it.
fn number(text: &str) -> Option<String> {
    match text {
        "NaN" => return Some("nan".into()),
        "Infinity" => return Some("inf".into()),
        "-Infinity" => return Some("-inf".into()),
        // An integer has no negative zero.
        "-0" => return Some("0".into()),
        _ => {}
    }
    if text.contains(['.', 'e', 'E']) {
        return text.parse().ok().map(float);
    }
    let digits = text.strip_prefix('-').unwrap_or(text).len();
    (digits <= MAX_INT_DIGITS).then(|| text.into())
}

/// `repr` of a float: the shortest digits that round-trip, with an exponent below 1e-4 and from
/// 1e16.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    let shortest = format!("{value:e}");
    let digits = shortest
        .bytes()
        .take_while(|&byte| byte != b'e')
        .filter(u8::is_ascii_digit);
    // Of two shortest texts equally near, CPython takes the even one, as rounding to that many
    // digits does; the standard library's shortest form takes the greater.
    let even = format!("{value:.*e}", digits.count().saturating_sub(1));
    let scientific = if even.parse() == Ok(value) {
        even
    } else {
        shortest
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    };
    if whole == 0 {
        return format!("{sign}0.{digits}");
    }
    let (whole, fraction) = match digits.split_at_checked(whole) {
        Some((whole, "")) => (whole.to_string(), "0"),
        Some((whole, fraction)) => (whole.to_string(), fraction),
        None => (format!("{digits:0<whole$}"), "0"),
    };
    format!("{sign}{whole}.{fraction}")
}

fn repr_text(text: &Text, out: &mut String) {
    let has = |wanted: char| text.codes().contains(&u32::from(wanted));
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(quote);
    for &code in text.codes() {
        match char::from_u32(code) {
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(same) if same == quote => {
                out.push('\\');
                out.push(quote);
            }
            Some(other) if is_printable(code) => out.push(other),
            _ if code <= 0xff => out.push_str(&format!("\\x{code:02x}")),
            _ if code <= 0xffff => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> Option<String> {
        str_of(&Json::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn numbers_are_printed_as_cpython_prints_them() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("1E2", "100.0"),
            ("0.1", "0.1"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e-5", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("1e15", "1000000000000000.0"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("123456789.123456789", "123456789.12345679"),
            // Halfway between .12 and .13, both of which read back as it.
            ("74210462624524.125", "74210462624524.12"),
            ("-123.456", "-123.456"),
            ("0.012", "0.012"),
            ("5e-324", "5e-324"),
            ("1e-400", "0.0"),
            ("-1e-400", "-0.0"),
            ("1e400", "inf"),
            ("-1e400", "-inf"),
            ("NaN", "nan"),
            ("Infinity", "inf"),
            ("-Infinity", "-inf"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("2.2250738585072014E-308", "2.2250738585072014e-308"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740992.0"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
        ];
        for (json, expected) in table {
            assert_eq!(shown(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn integers_end_at_4300_digits() {
        assert!(shown(&"1".repeat(4300)).is_some());
        assert!(shown(&"1".repeat(4301)).is_none());
        assert!(shown(&format!("-{}", "1".repeat(4300))).is_some());
    }

    #[test]
    fn nested_values_are_printed_in_python_notation() {
        let json = r#"{"it's":["a",null,true,1.0],"q":"a \"b\" 'c'","n":"\n\u0000\u00ad\u200b\ud83d\ude00\ud83d é"}"#;
        let expected = r#"{"it's": ['a', None, True, 1.0], 'q': 'a "b" \'c\'', 'n': '\n\x00\xad\u200b😀\ud83d é'}"#;
        assert_eq!(shown(json).as_deref(), Some(expected));
    }

    #[test]
    fn lone_surrogates_cannot_have_been_signed() {
        assert_eq!(shown(r#""\ud83d""#), None);
        assert_eq!(shown(r#"["\ud83d"]"#).as_deref(), Some(r"['\ud83d']"));
    }

    #[test]
    fn quoting_leaves_letters_digits_and_four_marks() {
        let mut out = String::new();
        quote_plus("Az09_.-~ *+/%41é\0", &mut out);
        assert_eq!(out, "Az09_.-~+%2A%2B%2F%2541%C3%A9%00");
    }
}
