//! Hints beyond the vectors: each slip is made, and must be named.

use signature::{Catalogue, Context, Hint, Keys, Message, Provider, Secret, Unsigned};

const AT: i64 = 1_770_000_000;
const URL: &str = "https://hooks.example.com/webhook";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const FORM: &str = "application/x-www-form-urlencoded";

/// What the sender does otherwise than the receiver sees it.
struct Slip<'s> {
    url: &'s str,
    secret: &'s str,
    kind: &'s str,
    body: &'s [u8],
}

impl Default for Slip<'_> {
    fn default() -> Self {
        Slip {
            url: URL,
            secret: TOKEN,
            kind: FORM,
            body: b"event=x&To=%2B1",
        }
    }
}

#[test]
fn a_known_host_is_named() {
    let context = Context {
        other_hosts: vec!["old.example.com".into(), "localhost:3000".into()],
        ..Context::default()
    };
    let sent = Slip {
        url: "https://old.example.com/webhook",
        ..Slip::default()
    };
    let hint = hint_of("cloudvno", sent, Slip::default(), &[], &context);
    assert_eq!(hint.code, "url-host");
    assert_eq!(
        hint.sentence,
        "matches if the URL is https://old.example.com/webhook: the sender has this address; \
         change it there"
    );
    let sent = Slip {
        url: "http://localhost:3000/webhook",
        ..Slip::default()
    };
    assert_eq!(
        hint_of("cloudvno", sent, Slip::default(), &[], &context).code,
        "url-host"
    );
    for (name, value) in [
        ("X-Forwarded-Host", "far.example"),
        ("Forwarded", "for=1;host=far.example"),
    ] {
        let sent = Slip {
            url: "https://far.example/webhook",
            ..Slip::default()
        };
        let hint = hint_of(
            "cloudvno",
            sent,
            Slip::default(),
            &[(name, value)],
            &Context::default(),
        );
        assert_eq!(hint.code, "url-host");
    }
}

#[test]
fn a_query_is_not_shown() {
    let sent = Slip {
        url: "http://hooks.example.com/webhook?key=hidden",
        ..Slip::default()
    };
    let seen = Slip {
        url: "https://hooks.example.com/webhook?key=hidden",
        ..Slip::default()
    };
    let hint = hint_of("cloudvno", sent, seen, &[], &Context::default());
    assert_eq!(hint.code, "url-scheme-http");
    assert!(!hint.sentence.contains("hidden"), "{}", hint.sentence);
}

#[test]
fn another_providers_secret_is_named_and_not_shown() {
    let context = Context {
        other_providers: vec![("github".into(), vec![Secret::new("theirs".into())])],
        ..Context::default()
    };
    let sent = Slip {
        secret: "theirs",
        ..Slip::default()
    };
    let hint = hint_of("cloudvno", sent, Slip::default(), &[], &context);
    assert_eq!(hint.code, "secret-of-other-provider");
    assert_eq!(
        hint.sentence,
        "matches with the secret configured for github: set it for CloudVNO as well"
    );
}

#[test]
fn a_secret_in_another_form_is_named() {
    let table = [
        ("stripe", "abc", " abc\n", "secret-has-outer-space"),
        ("stripe", "abc", "\"abc\"", "secret-has-quotes"),
        ("stripe", "abc", "whsec_abc", "secret-whsec-stripped"),
    ];
    for (provider, sent, seen, code) in table {
        let sent = Slip {
            secret: sent,
            ..Slip::default()
        };
        let seen = Slip {
            secret: seen,
            ..Slip::default()
        };
        assert_eq!(
            hint_of(provider, sent, seen, &[], &Context::default()).code,
            code
        );
    }
    // The bytes of this hex are this text.
    let sent = Slip {
        secret: "secret",
        ..Slip::default()
    };
    let seen = Slip {
        secret: "736563726574",
        ..Slip::default()
    };
    let hint = hint_of("github", sent, seen, &[], &Context::default());
    assert_eq!(hint.code, "secret-hex-decoded");
}

#[test]
fn a_body_changed_on_the_way_is_named() {
    let table: [(&[u8], &[u8], &str); 7] = [
        (b"{\"a\":1}\n", b"{\"a\":1}", "trailing-newline-missing"),
        (b"{\"a\":1}", b"{\"a\":1}\r\n", "trailing-newline"),
        (b"{\n}", b"{\r\n}", "line-endings"),
        (b"{\r\n}", b"{\n}", "line-endings"),
        (
            "{\"a\":\"é\"}".as_bytes(),
            "\u{feff}{\"a\":\"é\"}".as_bytes(),
            "byte-order-mark",
        ),
        (
            b"{\"b\": 1.50, \"a\": \"\\u00e9\"}",
            "{\"b\":1.50,\"a\":\"é\"}".as_bytes(),
            "reserialised-json",
        ),
        (
            b"{\"a\":\"\\/\",\"b\":1}",
            b"{\"b\":1,\"a\":\"/\"}",
            "reserialised-json",
        ),
    ];
    for (sent, seen, code) in table {
        let sent = Slip {
            body: sent,
            kind: "application/json",
            ..Slip::default()
        };
        let seen = Slip {
            body: seen,
            kind: "application/json",
            ..Slip::default()
        };
        let hint = hint_of("stripe", sent, seen, &[], &Context::default());
        assert_eq!(hint.code, code, "{}", hint.sentence);
    }
}

#[test]
fn the_form_of_a_signature_is_named() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").unwrap();
    let right = sign(provider, &Slip::default()).remove(0).1;
    let table = [
        (right.to_uppercase(), "signature-uppercase", true),
        (format!("\"{right}\""), "signature-quoted", true),
        (format!("sha256={right}"), "signature-prefixed", true),
        ("0".repeat(40), "algorithm-sha1", false),
        ("0".repeat(128), "algorithm-sha512", false),
        (right[..63].into(), "signature-cut", false),
        (format!("{right}ab"), "signature-long", false),
        (
            right.replacen(|_| true, "!", 1),
            "signature-alphabet",
            false,
        ),
        (String::new(), "signature-cut", false),
    ];
    for (value, code, matches) in table {
        let hint = explain(
            provider,
            &[("X-CloudVNO-Signature", &value)],
            &Slip::default(),
            &Context::default(),
        );
        assert_eq!(hint.code, code, "{value}");
        assert_eq!(
            hint.sentence.contains("; matches if"),
            matches,
            "{}",
            hint.sentence
        );
        assert!(!hint.sentence.contains(&right));
    }
}

#[test]
fn a_missing_signature_says_what_came_instead() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").unwrap();
    let hint = |headers: &[(&str, &str)]| {
        explain(provider, headers, &Slip::default(), &Context::default())
    };
    let other = hint(&[("Stripe-Signature", "t=1,v1=00")]);
    assert_eq!(other.code, "other-provider");
    assert_eq!(
        other.sentence,
        "this looks like Stripe (Stripe-Signature came); set the provider to stripe"
    );
    let alike = hint(&[("X-Acme-Hmac", "00")]);
    assert_eq!(alike.code, "other-signature-header");
    assert_eq!(
        alike.sentence,
        "X-CloudVNO-Signature is due and did not come; X-Acme-Hmac did"
    );
    assert_eq!(hint(&[]).code, "signature-absent");
}

#[test]
fn a_timestamp_in_the_wrong_unit_is_named() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("stripe").unwrap();
    let slip = Slip::default();
    let unsigned = Unsigned {
        method: "POST",
        url: URL,
        headers: &[],
        body: slip.body,
        id: "",
    };
    let signed = provider
        .sign(unsigned, &Secret::new(TOKEN.into()), AT * 1000)
        .unwrap();
    let hint = explain(
        provider,
        &[(&signed[0].0, &signed[0].1)],
        &slip,
        &Context::default(),
    );
    assert_eq!(hint.code, "timestamp-milliseconds");
}

/// The hint for a request that was sent as `sent` and is seen as `seen`.
fn hint_of(
    provider: &str,
    sent: Slip<'_>,
    seen: Slip<'_>,
    extra: &[(&str, &str)],
    context: &Context,
) -> Hint {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get(provider).unwrap();
    let signed = sign(provider, &sent);
    let mut headers: Vec<(&str, &str)> = signed
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    headers.extend(extra);
    explain(provider, &headers, &seen, context)
}

fn sign(provider: &Provider, slip: &Slip<'_>) -> Vec<(String, String)> {
    let headers: &[(&[u8], &[u8])] = &[(b"Content-Type", slip.kind.as_bytes())];
    let unsigned = Unsigned {
        method: "POST",
        url: slip.url,
        headers,
        body: slip.body,
        id: "m",
    };
    provider
        .sign(unsigned, &Secret::new(slip.secret.into()), AT)
        .unwrap()
}

fn explain(
    provider: &Provider,
    headers: &[(&str, &str)],
    seen: &Slip<'_>,
    context: &Context,
) -> Hint {
    let mut all: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    all.push((b"Content-Type", seen.kind.as_bytes()));
    let message = Message {
        method: "POST",
        url: seen.url,
        headers: &all,
        body: seen.body,
        at: AT,
    };
    let keys = Keys {
        secrets: vec![Secret::new(seen.secret.into())],
        ..Keys::default()
    };
    provider.explain(&message, &keys, context).unwrap()
}
