//! Form fields out of a body or a query, as Python's web frameworks read them.

/// Longest multipart body that is read, in bytes; an MMS with pictures fits.
const MAX_BYTES: usize = 16 << 20;
/// Longest text of all fields, in bytes before decoding. Encoded again it may be six times as long,
/// once for each of a handful of readings.
const MAX_TEXT: usize = 2 << 20;
/// Most fields of one form. Django stops at 1,000.
const MAX_FIELDS: usize = 10_000;

/// Fields in the order they came, doubles and empty values included.
pub(crate) type Fields = Vec<(String, String)>;

/// What a Content-Type says about a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `application/x-www-form-urlencoded`
    Urlencoded(Charset),
    /// `multipart/form-data`, with its boundary.
    Multipart(Charset, Vec<u8>),
    /// No Content-Type came.
    Unsaid,
    /// Anything else.
    Other,
}

/// How bytes become text. Unknown names are read as UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    Latin1,
}

impl Charset {
    fn named(name: &str) -> Charset {
        match name.to_ascii_lowercase().as_str() {
            "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin-1" | "latin1" => Charset::Latin1,
            _ => Charset::Utf8,
        }
    }

    /// Undecodable bytes become U+FFFD, as with `errors="replace"`.
    fn decode(self, bytes: &[u8]) -> String {
        match self {
            Charset::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Charset::Latin1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
        }
    }
}

impl Kind {
    /// Reads a Content-Type header.
    pub(crate) fn of(content_type: Option<&[u8]>) -> Kind {
        let Some(value) = content_type else {
            return Kind::Unsaid;
        };
        let value = String::from_utf8_lossy(value);
        let (kind, parameters) = value.split_once(';').unwrap_or((&value, ""));
        let charset =
            parameter(parameters, "charset").map_or(Charset::Utf8, |c| Charset::named(&c));
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Kind::Urlencoded(charset),
            "multipart/form-data" => match parameter(parameters, "boundary") {
                // RFC 2046, 5.1.1: 1 to 70 characters.
                Some(boundary) if (1..=70).contains(&boundary.len()) => {
                    Kind::Multipart(charset, boundary.into_bytes())
                }
                _ => Kind::Other,
            },
            "" => Kind::Unsaid,
            _ => Kind::Other,
        }
    }

    /// The fields of a body of this kind; `None` if it is no form, or beyond the bounds.
    ///
    /// A body without a Content-Type is one if it is text with a `=` in it and does not start as
    /// JSON does.
    pub(crate) fn fields(&self, body: &[u8]) -> Option<Fields> {
        match self {
            Kind::Urlencoded(charset) => parse_qsl(body, *charset),
            Kind::Multipart(charset, boundary) => multipart(body, boundary, *charset),
            Kind::Unsaid => {
                let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
                let text = std::str::from_utf8(body).is_ok_and(|text| text.contains('='));
                let json = matches!(first, Some(b'{' | b'[' | b'"'));
                if text && !json {
                    parse_qsl(body, Charset::Utf8)
                } else {
                    None
                }
            }
            Kind::Other => None,
        }
    }
}

/// `urllib.parse.parse_qsl(text, keep_blank_values=True)`: `&` separates, `+` is a blank, a name
/// without `=` has an empty value, `%zz` stays. `None` beyond the bounds.
pub(crate) fn parse_qsl(bytes: &[u8], charset: Charset) -> Option<Fields> {
    if bytes.len() > MAX_TEXT {
        return None;
    }
    let text = charset.decode(bytes);
    let mut fields = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if fields.len() == MAX_FIELDS {
            return None;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |part: &str| unquote(&part.replace('+', " "), charset);
        fields.push((read(name), read(value)));
    }
    Some(fields)
}

/// `urllib.parse.unquote`: escapes are decoded run by run of ASCII, so that an escape never joins
/// with a character beside it.
fn unquote(text: &str, charset: Charset) -> String {
    if !text.contains('%') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest
            .bytes()
            .position(|byte| !byte.is_ascii())
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(ascii);
        out.push_str(&charset.decode(&unquote_bytes(run.as_bytes())));
        let wide = after
            .bytes()
            .position(|byte| byte.is_ascii())
            .unwrap_or(after.len());
        let (run, after) = after.split_at(wide);
        out.push_str(run);
        rest = after;
    }
    out
}

fn unquote_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes[at] == b'%';
        match bytes
            .get(at + 1..at + 3)
            .filter(|_| escaped)
            .and_then(crate::mac::unhex)
        {
            Some(byte) => {
                out.extend(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// The parts of a `multipart/form-data` body that have a name and no file name.
/// Source: RFC 7578.
fn multipart(body: &[u8], boundary: &[u8], charset: Charset) -> Option<Fields> {
    if body.len() > MAX_BYTES {
        return None;
    }
    let marker = [b"--", boundary].concat();
    let between = [b"\r\n--", boundary].concat();
    let mut rest = body.strip_prefix(marker.as_slice()).or_else(|| {
        // A preamble may stand before the first part.
        find(body, &between).map(|at| &body[at + between.len()..])
    })?;
    let mut fields = Vec::new();
    let (mut parts, mut text) = (0, 0);
    loop {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        // Blanks may follow the boundary on its line.
        rest = &rest[find(rest, b"\r\n")? + 2..];
        let end = find(rest, &between)?;
        let part = &rest[..end];
        rest = &rest[end + between.len()..];
        parts += 1;
        if parts > MAX_FIELDS {
            return None;
        }
        let (head, value) = match find(part, b"\r\n\r\n") {
            Some(at) => (&part[..at], &part[at + 4..]),
            None => match part.strip_prefix(b"\r\n") {
                Some(value) => (&part[..0], value),
                None => continue,
            },
        };
        if let Some(field) = text_part(head, value, charset) {
            text += field.0.len() + field.1.len();
            if text > MAX_TEXT {
                return None;
            }
            fields.push(field);
        }
    }
}

fn text_part(head: &[u8], value: &[u8], charset: Charset) -> Option<(String, String)> {
    let head = charset.decode(head);
    let (mut name, mut charset) = (None, charset);
    for line in head.split("\r\n") {
        let Some((header, value)) = line.split_once(':') else {
            continue;
        };
        let (_, parameters) = value.split_once(';').unwrap_or((value, ""));
        if header.trim().eq_ignore_ascii_case("content-disposition") {
            let file = ["filename", "filename*"]
                .iter()
                .any(|n| parameter(parameters, n).is_some());
            if file {
                return None;
            }
            name = parameter(parameters, "name");
        } else if header.trim().eq_ignore_ascii_case("content-type")
            && let Some(named) = parameter(parameters, "charset")
        {
            charset = Charset::named(&named);
        }
    }
    Some((name?, charset.decode(value)))
}

/// The value of a parameter such as `name` in `form-data; name="a"`, unquoted.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix('=') else {
            continue;
        };
        let value;
        (value, rest) = parameter_value(after.trim_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().into(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    (value, "")
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(step) = text[from..].iter().position(|&byte| byte == first) {
        let at = from + step;
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Option<Fields> {
        Some(
            fields
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect(),
        )
    }

    #[test]
    fn queries_are_read_as_python_reads_them() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("&&a=1&", &[("a", "1")]),
            ("a;b=1;c=2", &[("a;b", "1;c=2")]),
            ("b", &[("b", "")]),
            ("c=&=x", &[("c", ""), ("", "x")]),
            ("a=1=2", &[("a", "1=2")]),
            ("a+b=%2B+%20", &[("a b", "+  ")]),
            ("a=%zz%4", &[("a", "%zz%4")]),
            ("a=%C3%A9é%E9", &[("a", "éé\u{fffd}")]),
        ];
        for (text, expected) in table {
            assert_eq!(
                parse_qsl(text.as_bytes(), Charset::Utf8),
                pairs(expected),
                "{text}"
            );
        }
        assert_eq!(
            parse_qsl(b"a=%E9\xe9", Charset::Latin1),
            pairs(&[("a", "éé")])
        );
    }

    #[test]
    fn text_parts_are_fields_and_files_are_not() {
        let kind = Kind::of(Some(b"Multipart/Form-Data; boundary=\"x y\""));
        let body = b"--x y\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n1\r\n2\r\n\
            --x y\r\ncontent-disposition: form-data; name=f; filename=p.jpg\r\n\r\n\xff\r\n\
            --x y\r\nContent-Disposition: form-data; name=l\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n\xe9\r\n\
            --x y--\r\n";
        assert_eq!(kind.fields(body), pairs(&[("a\"b", "1\r\n2"), ("l", "é")]));
        assert_eq!(
            kind.fields(&body[..body.len() - 4]),
            None,
            "cut before the end"
        );
    }

    #[test]
    fn a_body_of_no_said_kind_is_a_form_if_it_reads_as_one() {
        assert_eq!(Kind::Unsaid.fields(b"a=1"), pairs(&[("a", "1")]));
        assert_eq!(Kind::Unsaid.fields(b" {\"a\":\"=\"}"), None);
        assert_eq!(Kind::Unsaid.fields(b"\xff=1"), None);
        assert_eq!(Kind::of(Some(b"application/json")).fields(b"a=1"), None);
    }
}
