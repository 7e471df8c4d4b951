//! What CloudVNO may have signed.
//!
//! Its whole specification is `s = url + urlencode(sorted(params.items()))`. What the parameters
//! are, and whether the URL keeps its query, it does not say; [`readings`] are the answers that
//! count as valid, in order, and [`slips`] those that only explain a failure.
//!
//! Nothing stands between URL and parameters, so `…?t=1` with `a=2` and `…?t=1a=2` with nothing
//! have one signature: whoever saw a request can move the border. Readings that count the query
//! among the parameters therefore never come before those that do not. And fields are covered,
//! bytes are not: order, encoding and doubles of the body can change unseen. Worst is a double:
//! `a=1` becomes `a=1&a=2` and still matches where the first of a name counts, which is why that
//! reading is named on the screen.
//!
//! Source: CloudVNO, Webhooks Overview, "Securing Webhooks".

use crate::form::{Fields, Kind};
use crate::json::{Json, Style};
use crate::python::{self, quote_plus};
use crate::request::Request;
use crate::url;

/// One text that CloudVNO may have signed.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) words: &'static str,
    /// What most requests are; not worth a word on the screen.
    pub(crate) usual: bool,
    pub(crate) text: String,
}

/// The readings that count as valid, in the order in which they are tried. At most seven; none if
/// the body holds something that is neither a form nor a JSON object.
pub(crate) fn readings(request: &Request<'_>) -> Vec<Reading> {
    let full = url::without_fragment(request.message.url);
    let short = url::without_query(full);
    let has_query = url::query(full).is_some();
    let mut out: Vec<Reading> = Vec::new();
    let mut add = |words, usual, url: &str, fields: &str| {
        out.push(Reading {
            words,
            usual,
            text: format!("{url}{fields}"),
        });
    };
    if request.message.body.is_empty() {
        add("url in full; no parameters", false, full, "");
        if has_query {
            let query = urlencode_last(request.query());
            add(
                "url without query; parameters are the query fields",
                false,
                short,
                &query,
            );
        }
        return out;
    }
    let form = request.form();
    if let Some(form) = form {
        let repeated = has_repeats(form);
        let words = if repeated {
            "url in full; form fields, of a repeated name the last"
        } else {
            "url in full; parameters are the form fields"
        };
        add(words, !repeated, full, &urlencode_last(form));
    }
    if let Some(json) = json_fields(request) {
        let words = "url in full; parameters are the top-level JSON fields, each through str()";
        add(words, true, full, &urlencode_last(&json));
    }
    let Some(form) = form else { return out };
    if has_repeats(form) {
        let first: Fields = form.iter().rev().cloned().collect();
        let words = "url in full; form fields, of a repeated name the first";
        add(words, false, full, &urlencode_last(&first));
    }
    if form.iter().any(|field| field.1.is_empty()) {
        let kept: Fields = form
            .iter()
            .filter(|field| !field.1.is_empty())
            .cloned()
            .collect();
        // All of them empty would leave the URL alone, and the body uncovered.
        if !kept.is_empty() {
            let words = "url in full; form fields, empty values dropped";
            add(words, false, full, &urlencode_last(&kept));
        }
    }
    if has_query {
        let both = urlencode_last(&[request.query().as_slice(), form].concat());
        let words = "url without query; parameters are query and form fields together";
        add(words, false, short, &both);
        let words = "url in full; parameters are query and form fields together";
        add(words, false, full, &both);
    }
    out
}

/// The top-level fields of a JSON object, each through `str()`. `None` where CPython would raise.
pub(crate) fn json_fields(request: &Request<'_>) -> Option<Fields> {
    let json = request.json().filter(|json| python::loads(json))?;
    let Json::Map(fields) = json else { return None };
    fields
        .iter()
        .map(|(name, value)| Some((name.to_utf8()?, python::str_of(value)?)))
        .collect()
}

/// `urlencode(sorted(dict(fields).items()))`: of a repeated name the last value, sorted by code
/// points.
pub(crate) fn urlencode_last(fields: &[(String, String)]) -> String {
    python::urlencode(&sorted_last(fields))
}

/// A text that a sender not in Python, or a careless one, may have signed instead.
#[derive(Clone, Debug)]
pub(crate) struct Slip {
    pub(crate) code: &'static str,
    /// What the sender did, to follow "matches if ".
    pub(crate) what: &'static str,
    pub(crate) text: Vec<u8>,
}

/// The texts that explain a failure and are never valid, the likely ones first.
pub(crate) fn slips(request: &Request<'_>) -> Vec<Slip> {
    let full = url::without_fragment(request.message.url);
    let body = request.message.body;
    let mut out: Vec<Slip> = Vec::new();
    let mut add = |code, what, text: String| {
        out.push(Slip {
            code,
            what,
            text: text.into_bytes(),
        });
    };
    // What a JavaScript sender makes of JSON values; for a form the fields are texts anyway.
    let literals = match request.json() {
        Some(Json::Map(fields)) => fields
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Json::Null => Some("null".into()),
                    Json::List(_) | Json::Map(_) => Some(value.write(Style::COMPACT)),
                    single => single.plain(),
                };
                Some((name.to_utf8()?, value?))
            })
            .collect::<Option<Fields>>(),
        _ => None,
    };
    let fields = request.form().cloned().or_else(|| json_fields(request));
    if let Some(fields) = &fields {
        let sorted: Vec<(&str, &str)> = sorted_last(fields);
        let encoded = python::urlencode(&sorted);
        let join = |quote: &dyn Fn(&str) -> String, equals: &str, and: &str| {
            let pairs: Vec<String> = sorted
                .iter()
                .map(|(name, value)| format!("{}{equals}{}", quote(name), quote(value)))
                .collect();
            format!("{full}{}", pairs.join(and))
        };
        add(
            "params-unsorted",
            "the parameters stay in the order they came: the sender did not sort them",
            format!("{full}{}", python::urlencode(fields)),
        );
        add(
            "params-space-as-percent20",
            "a space is written %20: the sender did not encode as urlencode does",
            format!("{full}{}", encoded.replace('+', "%20")),
        );
        add(
            "params-plain-concatenation",
            "name and value stand without = and &, as Twilio signs",
            join(&str::to_string, "", ""),
        );
        add(
            "params-not-encoded",
            "the parameters are not percent-encoded",
            join(&str::to_string, "=", "&"),
        );
        let javascript = encoded.replace("%2A", "*").replace('~', "%7E");
        add(
            "params-tilde-encoded",
            "* stays and ~ is %7E, as URLSearchParams of JavaScript writes",
            format!("{full}{javascript}"),
        );
        add(
            "params-star-kept",
            "!'()* stay and a space is %20, as encodeURIComponent of JavaScript writes",
            join(&encode_uri_component, "=", "&"),
        );
        add(
            "params-small-hex",
            "percent escapes are in small letters",
            join(&|text| small_escapes(text), "=", "&"),
        );
        let mut utf16: Vec<(&str, &str)> = sorted.clone();
        utf16.sort_by(|left, right| left.0.encode_utf16().cmp(right.0.encode_utf16()));
        add(
            "params-utf16-order",
            "names are sorted by UTF-16 units, as JavaScript and Java sort",
            format!("{full}{}", python::urlencode(&utf16)),
        );
    }
    if let Some(fields) = &literals {
        add(
            "json-literals",
            "JSON values are written as JSON, true and null and not True and None: the sender does \
             not use str()",
            format!("{full}{}", urlencode_last(fields)),
        );
        let text = String::from_utf8_lossy(body);
        add(
            "params-payload-field",
            "the JSON is one parameter named payload",
            format!("{full}{}", python::urlencode(&[("payload", text.as_ref())])),
        );
    }
    if let Some(form) = request.form().filter(|form| has_repeats(form)) {
        add(
            "params-lists",
            "values are lists such as ['x']: the sender signed the result of parse_qs",
            format!("{full}{}", urlencode_last(&as_lists(form))),
        );
    }
    if *request.kind() == Kind::Other
        && let Some(form) = Kind::Unsaid.fields(body)
    {
        add(
            "params-content-type",
            "the body is read as a form, which its Content-Type does not say",
            format!("{full}{}", urlencode_last(&form)),
        );
    }
    out.push(Slip {
        code: "raw-body-only",
        what: "the signed text is the raw body alone, without the URL",
        text: body.to_vec(),
    });
    out.push(Slip {
        code: "url-and-raw-body",
        what: "the signed text is the URL and the raw body",
        text: [full.as_bytes(), body].concat(),
    });
    if !body.is_empty() {
        out.push(Slip {
            code: "url-only",
            what: "the signed text is the URL alone: the sender signed no parameters",
            text: full.into(),
        });
    }
    out.retain(|slip| slip.text.len() <= MAX_SLIP_BYTES);
    out
}

/// Longest text that is tried as a slip, in bytes; keeps a dozen of them cheap.
const MAX_SLIP_BYTES: usize = 4 << 20;

fn sorted_last(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<(&str, &str)> = fields
        .iter()
        .rev()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // UTF-8 sorts as its code points do. The sort is stable and the last came first.
    sorted.sort_by(|left, right| left.0.cmp(right.0));
    sorted.dedup_by(|later, earlier| later.0 == earlier.0);
    sorted
}

fn has_repeats(fields: &[(String, String)]) -> bool {
    sorted_last(fields).len() < fields.len()
}

fn as_lists(form: &[(String, String)]) -> Fields {
    let mut lists: Vec<(String, Vec<Json>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, value) in form {
        let place = *places.entry(name).or_insert_with(|| {
            lists.push((name.clone(), Vec::new()));
            lists.len() - 1
        });
        lists[place].1.push(Json::Text(value.as_str().into()));
    }
    let printed = lists.into_iter().map(|(name, values)| {
        (
            name,
            python::str_of(&Json::List(values)).unwrap_or_default(),
        )
    });
    printed.collect()
}

fn encode_uri_component(text: &str) -> String {
    let mut out = String::new();
    quote_plus(text, &mut out);
    let kept = [
        ("+", "%20"),
        ("%21", "!"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
    ];
    kept.iter()
        .fold(out, |out, (from, to)| out.replace(from, to))
}

fn small_escapes(text: &str) -> String {
    let mut out = String::new();
    quote_plus(text, &mut out);
    let mut pieces = out.split('%');
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |small, piece| {
        let (hex, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        format!("{small}%{}{rest}", hex.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde_json::Value;

    use super::*;
    use crate::request::Message;

    fn read<T>(url: &str, kind: &str, body: &[u8], act: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: &[(&[u8], &[u8])] = &[(b"Content-Type", kind.as_bytes())];
        act(&Request::new(Message {
            method: "POST",
            url,
            headers,
            body,
            at: 0,
        }))
    }

    #[test]
    fn the_signed_text_of_each_vector_is_a_reading() {
        let vectors: Value = serde_json::from_str(include_str!("../tests/vectors.json")).unwrap();
        let text = |vector: &Value, key: &str| vector[key].as_str().map(String::from);
        let mut seen = 0;
        for vector in vectors.as_array().unwrap() {
            let Some(signed) = text(vector, "signed_text") else {
                continue;
            };
            let body = text(vector, "body_base64").unwrap();
            let body = base64::engine::general_purpose::STANDARD
                .decode(body)
                .unwrap();
            let headers = vector["headers"].as_array().unwrap();
            let kind = headers.iter().find(|header| header[0] == "Content-Type");
            let kind = kind.map_or("", |header| header[1].as_str().unwrap());
            let url = text(vector, "url").unwrap();
            let found = read(&url, kind, &body, |request| {
                readings(request)
                    .into_iter()
                    .find(|reading| reading.text == signed)
            });
            assert_eq!(
                found.map(|reading| reading.words.into()),
                text(vector, "reading")
            );
            seen += 1;
        }
        assert_eq!(seen, 28);
    }

    #[test]
    fn readings_come_in_their_order() {
        let words = read("https://h/w?a=0", "", b"a=1&a=2&e=", |request| {
            readings(request)
                .into_iter()
                .map(|r| (r.text, r.usual))
                .collect::<Vec<_>>()
        });
        let texts = [
            "https://h/w?a=0a=2&e=",
            "https://h/w?a=0a=1&e=",
            "https://h/w?a=0a=2",
            "https://h/wa=2&e=",
            "https://h/w?a=0a=2&e=",
        ];
        assert_eq!(words, texts.map(|text| (text.to_string(), false)));
    }

    #[test]
    fn slips_are_what_other_senders_sign() {
        let texts = read("https://h/w", "", b"b=~*%20'&a=1&a=%2F", |request| {
            slips(request)
                .into_iter()
                .map(|slip| (slip.code, String::from_utf8(slip.text).unwrap()))
                .collect::<Vec<_>>()
        });
        let expected = [
            ("params-unsorted", "https://h/wb=~%2A+%27&a=1&a=%2F"),
            ("params-space-as-percent20", "https://h/wa=%2F&b=~%2A%20%27"),
            ("params-plain-concatenation", "https://h/wa/b~* '"),
            ("params-not-encoded", "https://h/wa=/&b=~* '"),
            ("params-tilde-encoded", "https://h/wa=%2F&b=%7E*+%27"),
            ("params-star-kept", "https://h/wa=%2F&b=~*%20'"),
            ("params-small-hex", "https://h/wa=%2f&b=~%2a+%27"),
            ("params-utf16-order", "https://h/wa=%2F&b=~%2A+%27"),
            (
                "params-lists",
                "https://h/wa=%5B%271%27%2C+%27%2F%27%5D&b=%5B%22~%2A+%27%22%5D",
            ),
            ("raw-body-only", "b=~*%20'&a=1&a=%2F"),
            ("url-and-raw-body", "https://h/wb=~*%20'&a=1&a=%2F"),
            ("url-only", "https://h/w"),
        ];
        assert_eq!(texts, expected.map(|(code, text)| (code, text.to_string())));
        let literals = read("u://h", "", b"{\"b\":[1.0,null],\"a\":true}", |request| {
            let mut slips = slips(request).into_iter();
            slips
                .find(|slip| slip.code == "json-literals")
                .unwrap()
                .text
        });
        assert_eq!(literals, b"u://ha=true&b=%5B1.0%2Cnull%5D");
    }

    #[test]
    fn what_cpython_raises_on_is_no_reading() {
        for body in [
            "{\"a\":\"\\ud800\"}",
            "{\"\\ud800\":1}",
            "[1]",
            "1",
            "{\"a\":1}x",
        ] {
            let none = read("https://h", "application/json", body.as_bytes(), |r| {
                readings(r).is_empty()
            });
            assert!(none, "{body}");
        }
        let long = format!("{{\"a\":[{}]}}", "1".repeat(4301));
        assert!(read("https://h", "", long.as_bytes(), |request| readings(
            request
        )
        .is_empty()));
    }
}
