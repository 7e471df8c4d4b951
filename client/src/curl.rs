//! A recorded request as a curl command: what the clipboard gets, and `client show --curl` prints.

use std::fmt::Write as _;

/// A command that sends the same request to `url`, for a POSIX shell. Framing fields are curl's
/// business. What a stranger sent stays data: no file is read, no pattern expanded, no control
/// reaches a terminal. `ca` is the certificate to trust for `url`, where a private CA made it.
pub(crate) fn command<'a>(
    method: &[u8],
    url: &str,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    body: &[u8],
    ca: Option<&str>,
) -> String {
    let mut out = format!(
        "curl -X {} {} --globoff",
        quote(method),
        quote(url.as_bytes())
    );
    if let Some(ca) = ca {
        let _ = write!(out, " \\\n  --cacert {}", quote(ca.as_bytes()));
    }
    for (name, value) in fields {
        let framing = [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "expect",
        ];
        if framing
            .iter()
            .any(|f| name.eq_ignore_ascii_case(f.as_bytes()))
        {
            continue;
        }
        // `Name;` is how curl sends a field without a value.
        let field = match value.is_empty() {
            true => [name, b";"].concat(),
            false => [name, b": ", value].concat(),
        };
        let _ = write!(out, " \\\n  -H {}", quote(&field));
    }
    if !body.is_empty() {
        // Unlike `--data-binary`, it does not read a file when the body begins with @.
        let _ = write!(out, " \\\n  --data-raw {}", quote(body));
    }
    out
}

/// One word for the shell: `'…'`, or `$'…'` when there is something that a line cannot show.
fn quote(bytes: &[u8]) -> String {
    let plain = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(|c| c == '\n' || !c.is_control()))
        .filter(|text| !text.chars().any(crate::text::is_hidden));
    if let Some(text) = plain {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut out = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => {
                let _ = write!(out, "\\{}", char::from(*byte));
            }
            0x20..0x7f => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_word_is_one_word_for_the_shell() {
        for (raw, quoted) in [
            (&b"plain"[..], "'plain'"),
            (b"it's $HOME `x`", r"'it'\''s $HOME `x`'"),
            (b"\x1b\xff'\\", r"$'\x1b\xff\'\\'"),
            ("a\u{202e}b".as_bytes(), r"$'a\xe2\x80\xaeb'"),
        ] {
            assert_eq!(quote(raw), quoted);
        }
    }
}
