//! What a proxy must change in a head, with the sentence that obliges it. Everything else stays.

use bytes::Bytes;
use wire::Fields;

/// The first value of a field, by name without regard to case.
pub fn first<'a>(fields: &'a Fields, name: &str) -> Option<&'a Bytes> {
    all(fields, name).next()
}

/// Every value of a field, in order.
pub fn all<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a Bytes> {
    let name = name.to_owned();
    fields
        .iter()
        .filter(move |(n, _)| is(n, &name))
        .map(|(_, value)| value)
}

/// Whether two field names are the same (RFC 9110, 5.1: names are case-insensitive).
pub fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// Whether a comma-separated field holds `token` (RFC 9110, 5.6.1).
pub fn lists(fields: &Fields, name: &str, token: &str) -> bool {
    all(fields, name).any(|value| {
        value
            .split(|b| *b == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// Whether a field belongs to the connection and not to the message.
///
/// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a message
/// is forwarded and, for each connection-option in this field, remove any header or trailer
/// field(s) from the message with the same name as the connection-option, and then remove the
/// Connection header field itself", and the fields it names after that sentence. Framing fields
/// are written anew from the body's length (RFC 9112, 6.1: Transfer-Encoding is hop by hop).
pub fn is_hop_by_hop(name: &[u8], fields: &Fields) -> bool {
    const ALWAYS: [&str; 7] = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "content-length",
    ];
    ALWAYS.iter().any(|known| is(name, known))
        // Host is for every recipient: a Connection that names it only wants to confuse.
        || !is(name, "host")
            && all(fields, "connection").any(|value| {
            value
                .split(|b| *b == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
        })
}

/// Whether only we may say this: who the sender is, and what we found out about the request.
/// `_` counts as `-`, because CGI, and after it WSGI and Rack, make one variable of both.
pub fn is_ours(name: &[u8]) -> bool {
    const OURS: [&[u8]; 4] = [
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"forwarded",
    ];
    let same = |a: &u8, b: &u8| {
        let a = if *a == b'_' { b'-' } else { *a };
        a.eq_ignore_ascii_case(b)
    };
    let is =
        |known: &[u8]| name.len() == known.len() && name.iter().zip(known).all(|(a, b)| same(a, b));
    OURS.into_iter().any(is)
        || name.len() >= 5 && name[..5].iter().zip(b"adit-").all(|(a, b)| same(a, b))
}

/// Whether a request asks for a WebSocket (RFC 6455, 4.1). No other upgrade is carried: an h2c
/// upgrade would open a way around the checks here.
pub fn asks_for_websocket(fields: &Fields) -> bool {
    lists(fields, "connection", "upgrade")
        && all(fields, "upgrade").count() == 1
        && first(fields, "upgrade").is_some_and(|value| is(value, "websocket"))
}

/// Whether a field may stand in trailers. RFC 9110, 6.5.1: a sender MUST NOT generate trailers
/// for framing, routing, authentication or content fields; nor does anybody get there what only
/// we may say.
pub fn may_trail(name: &[u8]) -> bool {
    const NEVER: [&str; 16] = [
        "transfer-encoding",
        "content-length",
        "host",
        "connection",
        "authorization",
        "cookie",
        "set-cookie",
        "content-type",
        "content-encoding",
        "content-range",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-connection",
    ];
    !is_ours(name) && !NEVER.iter().any(|known| is(name, known))
}

/// Whether `name` is a token (RFC 9110, 5.6.2).
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| is_tchar(*b))
}

/// Whether a byte may stand in a token.
pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a field value has only what RFC 9110, 5.5 allows: no control but HTAB.
pub fn is_field_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
}

/// Whether every field of a head from a peer can be written as HTTP/1 without changing its
/// meaning. The peer is not trusted to have checked.
pub fn are_writable(fields: &Fields) -> bool {
    fields
        .iter()
        .all(|(name, value)| is_token(name) && is_field_value(value))
}
