//! Verdicts beyond the vectors: damage, rotation, places, limits, signing.

use std::time::Duration;

use proptest::prelude::*;
use signature::{
    Catalogue, Confidence, Context, Keys, Message, Provider, Schedule, Secret, SignError, Strength,
    Unsigned, Verdict,
};

const AT: i64 = 1_770_000_000;
const URL: &str = "https://hooks.example.com/webhook";
const WHSEC: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhM=";

type Headers = Vec<(String, String)>;

#[test]
fn what_is_signed_here_verifies_here() {
    for provider in Catalogue::builtin().iter() {
        for (kind, body) in bodies() {
            let headers = signed(provider, kind, body);
            let judgement = verify(provider, &headers, body, &keys(&[WHSEC]));
            assert_eq!(
                judgement.verdict,
                Verdict::Valid,
                "{} {judgement:?}",
                provider.name()
            );
            assert_eq!(judgement.secret, Some(1));
        }
    }
}

#[test]
fn any_bit_flipped_in_a_signature_is_invalid() {
    for provider in Catalogue::builtin().iter() {
        let (kind, body) = bodies()[0];
        let headers = signed(provider, kind, body);
        let name = provider.header().unwrap();
        let value = &headers.iter().find(|header| header.0 == name).unwrap().1;
        for bit in 0..value.len() * 8 {
            let mut bytes = value.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let message = headers.iter().map(|(n, v)| {
                (
                    n.as_bytes(),
                    if n == name {
                        bytes.as_slice()
                    } else {
                        v.as_bytes()
                    },
                )
            });
            let message: Vec<_> = message.collect();
            let judgement = provider.verify(&post(&message, body), &keys(&[WHSEC]));
            // A hex digit in capitals is the same digit, but to CloudVNO.
            let capital = bytes.eq_ignore_ascii_case(value.as_bytes())
                && bit / 8 + 64 >= value.len()
                && ["github", "slack", "stripe"].contains(&provider.name());
            let valid = judgement.verdict == Verdict::Valid;
            assert_eq!(valid, capital, "{} bit {bit}", provider.name());
        }
    }
}

#[test]
fn any_configured_secret_may_match_and_is_named() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("github").unwrap();
    let headers = signed(provider, "application/json", b"{}");
    let judgement = verify(provider, &headers, b"{}", &keys(&["old", " ", WHSEC]));
    assert_eq!(
        (judgement.verdict, judgement.secret),
        (Verdict::Valid, Some(3))
    );

    let judgement = verify(
        provider,
        &headers,
        b"{}",
        &keys(&["1", "2", "3", "4", WHSEC]),
    );
    assert_eq!(
        judgement.why.as_deref(),
        Some("the MAC does not match any of the first 4 of 5 secrets (X-Hub-Signature-256)")
    );
}

#[test]
fn a_blank_secret_is_no_secret() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("github").unwrap();
    let judgement = verify(provider, &[], b"{}", &keys(&["", "\n"]));
    assert_eq!(judgement.verdict, Verdict::NoSecret);
    assert_eq!(
        judgement.why.as_deref(),
        Some("no secret is configured for GitHub")
    );
    let secret = Secret::new(" ".into());
    let refused = provider.sign(unsigned(&[], b""), &secret, AT);
    assert!(matches!(refused, Err(SignError::Secret { .. })));
}

#[test]
fn two_signature_headers_are_refused_unless_the_scheme_has_a_list() {
    let catalogue = Catalogue::builtin();
    let github = catalogue.get("github").unwrap();
    let mut headers = signed(github, "application/json", b"{}");
    headers.push(("x-hub-signature-256".into(), "sha256=00".into()));
    let judgement = verify(github, &headers, b"{}", &keys(&[WHSEC]));
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert_eq!(
        judgement.why.as_deref(),
        Some("X-Hub-Signature-256 came 2 times")
    );

    let svix = catalogue.get("svix").unwrap();
    let mut headers = signed(svix, "application/json", b"{}");
    headers.insert(0, ("Svix-Signature".into(), "v1,AAAA".into()));
    assert_eq!(
        verify(svix, &headers, b"{}", &keys(&[WHSEC])).verdict,
        Verdict::Valid
    );
}

#[test]
fn a_forged_old_request_is_invalid_and_not_stale() {
    let catalogue = Catalogue::builtin();
    let stripe = catalogue.get("stripe").unwrap();
    let headers: Headers = vec![(
        "Stripe-Signature".into(),
        format!("t=1,v1={}", "0".repeat(64)),
    )];
    assert_eq!(
        verify(stripe, &headers, b"{}", &keys(&[WHSEC])).verdict,
        Verdict::Invalid
    );
}

#[test]
fn cloudvno_reads_text_parts_and_charsets_as_python_does() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").unwrap();
    let plain = signed(
        provider,
        "application/x-www-form-urlencoded",
        b"event=x&Body=%C3%A9",
    );
    let signature = plain
        .iter()
        .find(|header| header.0 == "X-CloudVNO-Signature")
        .unwrap();
    let alike: &[(&str, &[u8])] = &[
        (
            "application/x-www-form-urlencoded; charset=iso-8859-1",
            b"Body=%E9&event=x",
        ),
        (
            "application/x-www-form-urlencoded",
            b"Body=\xc3\xa9&event=x",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=event\r\n\r\nx\r\n\
              --b\r\nContent-Disposition: form-data; name=Body\r\n\r\n\xc3\xa9\r\n\
              --b\r\nContent-Disposition: form-data; name=m; filename=m\r\n\r\n\xff\r\n--b--",
        ),
        (
            "application/json",
            r#"{"event":"x","Body":"\u00e9"}"#.as_bytes(),
        ),
        ("", b"event=x&Body=%c3%a9"),
    ];
    for (kind, body) in alike {
        let mut headers = vec![signature.clone()];
        if !kind.is_empty() {
            headers.push(("Content-Type".into(), kind.to_string()));
        }
        let judgement = verify(provider, &headers, body, &keys(&[WHSEC]));
        assert_eq!(judgement.verdict, Verdict::Valid, "{kind}: {judgement:?}");
        assert_eq!(judgement.reading, None);
        assert_eq!(event(provider, &headers, body).as_deref(), Some("x"));
    }
}

#[test]
fn a_body_that_is_not_covered_does_not_verify() {
    // The URL alone is signed; a body of JSON or of nothing known must not ride on it.
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").unwrap();
    let headers = signed(provider, "", b"");
    assert_eq!(
        verify(provider, &headers, b"", &keys(&[WHSEC])).verdict,
        Verdict::Valid
    );
    for (kind, body) in [
        ("application/json", b"{\"event\":\"x\"}".as_slice()),
        ("application/json", b"[1]"),
        ("text/plain", b"event=x"),
        ("application/x-www-form-urlencoded", b"event="),
    ] {
        let mut headers = headers.clone();
        headers.push(("Content-Type".into(), kind.into()));
        let judgement = verify(provider, &headers, body, &keys(&[WHSEC]));
        assert_eq!(judgement.verdict, Verdict::Invalid, "{kind}");
    }
}

#[test]
fn retries_share_an_id_and_other_requests_do_not() {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").unwrap();
    let id = |headers: &[(&[u8], &[u8])], body: &[u8]| provider.delivery(&post(headers, body));
    let signed: &[(&[u8], &[u8])] = &[(b"X-CloudVNO-Signature", b"ab")];
    let one = id(signed, b"event=x").unwrap();
    assert_eq!(one.len(), 64);
    assert_eq!(
        id(
            &[(b"x-cloudvno-signature", b"ab"), (b"Date", b"later")],
            b"event=x"
        ),
        Some(one.clone())
    );
    assert_ne!(id(signed, b"event=y"), Some(one));
    assert_eq!(id(&[], b"event=x"), None);

    let github = catalogue.get("github").unwrap();
    let headers: &[(&[u8], &[u8])] = &[(b"x-github-delivery", b"7"), (b"X-GitHub-Event", b"push")];
    assert_eq!(github.delivery(&post(headers, b"")).as_deref(), Some("7"));
    assert_eq!(github.event(&post(headers, b"")).as_deref(), Some("push"));
}

#[test]
fn the_signature_header_suggests_the_provider() {
    let catalogue = Catalogue::builtin();
    let detect = |name: &str| {
        let headers: &[(&[u8], &[u8])] = &[(b"Host", b"h"), (name.as_bytes(), b"x")];
        catalogue.detect(headers).map(Provider::name)
    };
    assert_eq!(detect("x-cloudvno-SIGNATURE"), Some("cloudvno"));
    assert_eq!(detect("Webhook-Signature"), Some("standard-webhooks"));
    assert_eq!(detect("X-Hub-Signature"), None);

    // Of two that share a header, the one whose other headers came.
    let mut catalogue = Catalogue::builtin();
    let shared =
        "sig = \"header:X-Hub-Signature-256\"\nsig_pick = \"sha256=\"\nevent = \"header:X-Other\"";
    catalogue.insert(Provider::parse("another", shared).unwrap());
    let github: &[(&[u8], &[u8])] = &[(b"X-Hub-Signature-256", b"x"), (b"X-GitHub-Event", b"x")];
    assert_eq!(catalogue.detect(github).map(Provider::name), Some("github"));
    let other: &[(&[u8], &[u8])] = &[(b"X-Hub-Signature-256", b"x"), (b"X-Other", b"x")];
    assert_eq!(catalogue.detect(other).map(Provider::name), Some("another"));
}

#[test]
fn rows_say_how_long_providers_wait_and_when_they_retry() {
    let catalogue = Catalogue::builtin();
    let cloudvno = catalogue.get("cloudvno").unwrap();
    assert_eq!(cloudvno.deadline(), Some(Duration::from_secs(10)));
    let minutes = |minutes: &[u64]| {
        minutes
            .iter()
            .map(|m| Duration::from_secs(m * 60))
            .collect()
    };
    let schedule = Schedule::Delays {
        delays: minutes(&[1, 5, 30]),
        confidence: Confidence::Exact,
    };
    assert_eq!(cloudvno.schedule(), &schedule);
    assert_eq!(cloudvno.strength(), Strength::Body);
    assert_eq!(
        catalogue.get("github").unwrap().schedule(),
        &Schedule::Never
    );
    assert_eq!(
        catalogue.get("stripe").unwrap().schedule(),
        &Schedule::Unknown
    );
    assert!(
        catalogue
            .iter()
            .all(|provider| !provider.source().is_empty())
    );
}

#[test]
fn a_wrong_row_says_where_and_what_next() {
    let table = [
        (
            "sig = \"header:X\"\nsig_lst = \",\"",
            "provider p: line 2: unknown key `sig_lst`; did you mean `sig_list`?",
        ),
        (
            "sig = \"header:X\"\n\nhash = \"sha-256\"",
            "provider p: line 3: `hash` is \"sha-256\"; allowed are sha256, sha1, sha384, sha512",
        ),
        (
            "kind = \"ed25519\"",
            "provider p: line 1: `kind` is \"ed25519\", which is not supported yet; supported are hmac, digest, token, basic, none",
        ),
        (
            "hash = \"md5\"",
            "provider p: line 1: `hash` is \"md5\", which is not supported yet; supported are sha256, sha1, sha384, sha512",
        ),
        (
            "msg = \"{body}\"",
            "provider p: `sig` is missing; say where the signature is, as in sig = \"header:X-Signature\"",
        ),
        (
            "sig = \"X-Signature\"",
            "provider p: line 1: `sig` has no place `X-Signature`; write header:N, form:f, json:path or query:q",
        ),
        (
            "sig = \"header:X\"\nmsg = \"{ts}.{body}\"",
            "provider p: `msg` has {ts}, and `ts` is missing; say where the timestamp is",
        ),
        (
            "sig = \"header:X\"\nmsg = \"{body\"",
            "provider p: line 2: `msg` has no `}` after `{body`",
        ),
        (
            "sig = \"header:X\"\nkind = \"digest\"",
            "provider p: a digest without {secret} in `msg` proves nothing; add it",
        ),
        (
            "sig = \"header:X\"\ntol = 300",
            "provider p: `tol` needs `ts`; say where the timestamp is",
        ),
        (
            "sig = \"header:X\"\nretries = [\"1 min\"]",
            "provider p: line 2: `retries` has \"1 min\"; write a time such as \"90s\", \"5m\" or \"2h\"",
        ),
        (
            "sig = 3",
            "provider p: line 1: `sig` must be a text in quotes, or a list of them",
        ),
    ];
    for (row, expected) in table {
        assert_eq!(Provider::parse("p", row).unwrap_err().to_string(), expected);
    }
    let syntax = Provider::parse("p", "sig = \"header:X\"\n\nsig_list =")
        .unwrap_err()
        .to_string();
    assert!(syntax.starts_with("provider p: line 3: "), "{syntax}");
}

#[test]
fn rows_of_other_kinds_sign_and_verify() {
    let rows = [
        "kind = \"token\"\nsig = \"header:X-Token\"",
        "kind = \"basic\"\nsig = \"header:Authorization\"\nsig_pick = \"Basic \"",
        "kind = \"digest\"\nsig = \"header:X-Sig\"\nhash = \"sha1\"\nmsg = \"{secret}{method}{url}{body}\"",
        "sig = \"header:X-Sig\"\nhash = \"sha512\"\nenc = \"base64url\"\nts = \"header:X-Time\"\nts_unit = \"rfc3339\"\ntol = 60\nmsg = \"{lower(method)}[:{header:X-No}]:{query:a?}{ts}{{{sha256hex(body)}}}\"",
        "sig = \"header:X-Sig\"\nenc = \"base64(hex)\"\nsig_list = \",\"\nsig_positional = true\nts = \"field:0\"\nts_unit = \"ms\"\ntol = 60\nmsg = \"{ts}{url.path}{crc32(body)}{jsonstr(body)}{b64url(sha256raw(body))}\"",
        "sig = \"header:X-Sig\"\nhash = \"sha384\"\nkey = \"sha1\"\nsig_list = \"; \"\nsig_pick = \"v=\"\nts = \"field:t\"\nts_unit = \"http-date\"\ntol = 60\nmsg = \"{ts}{form.sorted}{form.urlencoded}\"",
    ];
    for row in rows {
        let provider = Provider::parse("p", row).unwrap();
        let headers = signed(&provider, "application/x-www-form-urlencoded", b"b=2&a=1");
        let judge = |secret| verify(&provider, &headers, b"b=2&a=1", &keys(&[secret]));
        assert_eq!(
            judge(WHSEC).verdict,
            Verdict::Valid,
            "{row}: {:?}",
            judge(WHSEC).why
        );
        assert_eq!(judge("another").verdict, Verdict::Invalid, "{row}");
        let later = headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect::<Vec<_>>();
        let later = Message {
            at: AT + 61,
            ..post(&later, b"b=2&a=1")
        };
        let timed = row.contains("tol");
        let expected = if timed {
            Verdict::Stale
        } else {
            Verdict::Valid
        };
        assert_eq!(
            provider.verify(&later, &keys(&[WHSEC])).verdict,
            expected,
            "{row}"
        );
    }
    let unsigned_row = Provider::parse("p", "kind = \"none\"").unwrap();
    assert_eq!(
        verify(&unsigned_row, &[], b"", &Keys::default()).verdict,
        Verdict::None
    );
}

#[test]
fn checks_come_after_the_signature() {
    let row = "sig = \"header:X-Sig\"\ncheck = [[\"header:X-Key\", \"config:key\"], [\"header:X-Hash\", \"sha256hex(body)\"]]";
    let provider = Provider::parse("p", row).unwrap();
    let mut headers = signed(&provider, "", b"1");
    headers.push(("X-Key".into(), "k1".into()));
    let mut keys = keys(&[WHSEC]);
    assert_eq!(
        verify(&provider, &headers, b"1", &keys).verdict,
        Verdict::Valid
    );
    keys.config.insert("key".into(), "k2".into());
    let judgement = verify(&provider, &headers, b"1", &keys);
    let why = "the MAC matches, and X-Key is not what the configured key says";
    assert_eq!(
        (judgement.verdict, judgement.why.as_deref()),
        (Verdict::Invalid, Some(why))
    );
    keys.config.clear();
    headers.push(("X-Hash".into(), "00".into()));
    let judgement = verify(&provider, &headers, b"1", &keys);
    let why = "the MAC matches, and X-Hash is not what sha256hex(body) says";
    assert_eq!(
        (judgement.verdict, judgement.why.as_deref()),
        (Verdict::Invalid, Some(why))
    );
}

#[test]
fn a_large_body_is_read_within_bounds() {
    let catalogue = Catalogue::builtin();
    let context = Context::default();
    let deep = [b"{\"a\":".as_slice(), &b"[".repeat(10 << 20)].concat();
    let wide = [b"{\"a\":[".as_slice(), &b"1,".repeat(5 << 20), b"1]}"].concat();
    let form = b"a=%41&".repeat(2 << 20);
    for body in [deep, wide, form] {
        for kind in [
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=a",
        ] {
            let headers: &[(&[u8], &[u8])] = &[
                (b"Content-Type", kind.as_bytes()),
                (b"X-CloudVNO-Signature", &[b'0'; 64]),
            ];
            let provider = catalogue.get("cloudvno").unwrap();
            let judgement = provider.verify(&post(headers, &body), &keys(&["s"]));
            assert_eq!(judgement.verdict, Verdict::Invalid);
            assert!(
                provider
                    .explain(&post(headers, &body), &keys(&["s"]), &context)
                    .is_some()
            );
        }
    }
}

#[test]
fn secrets_are_in_no_debug_text() {
    let keys = keys(&["topsecret"]);
    assert!(!format!("{keys:?}").contains("topsecret"));
    let headers: &[(&[u8], &[u8])] = &[(b"Authorization", b"topsecret")];
    let message = Message {
        url: "https://h/?topsecret",
        ..post(headers, b"topsecret")
    };
    assert!(!format!("{message:?}").contains("topsecret"));
}

proptest! {
    #[test]
    fn nothing_that_arrives_makes_it_panic(
        value in proptest::collection::vec(any::<u8>(), 0..80),
        kind in "(application/json|application/x-www-form-urlencoded(; charset=latin1)?|multipart/form-data; boundary=(a|\"a)|\\PC{0,20})",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[-\\[\\]{}\":,\\\\0-9eE.+a-u]{0,60}".prop_map(String::into_bytes),
            "(--a|\r\n|name=|Content-Disposition: form-data; |\"|x){0,20}".prop_map(String::into_bytes),
        ],
        url in "(https?://)?\\PC{0,40}",
        secret in "\\PC{0,20}",
        at in any::<i64>(),
        time in "(-?[0-9]{1,20}|\\PC{0,10})",
    ) {
        let context = Context {
            other_hosts: vec![secret.clone(), "localhost:3000".into()],
            other_providers: vec![("stripe".into(), vec![Secret::new(secret.clone())])],
        };
        for provider in Catalogue::builtin().iter() {
            let stamp = format!("t={time},v1={}", "0".repeat(64));
            let name = provider.header().unwrap().as_bytes();
            for value in [value.as_slice(), stamp.as_bytes(), &[b'a'; 64], b"sha256=00"] {
                let headers: &[(&[u8], &[u8])] = &[
                    (name, value),
                    (b"Content-Type", kind.as_bytes()),
                    (b"webhook-timestamp", time.as_bytes()),
                    (b"webhook-id", value),
                    (b"X-Forwarded-Host", value),
                    (b"Forwarded", value),
                    (value, value),
                ];
                let message = Message { method: "POST", url: &url, headers, body: &body, at };
                let keys = keys(&[&secret, "whsec_YWJj"]);
                let judgement = provider.verify(&message, &keys);
                prop_assert_ne!(judgement.verdict, Verdict::Valid);
                let hint = provider.explain(&message, &keys, &context);
                prop_assert_eq!(hint.is_some(), judgement.verdict != Verdict::NoSecret);
                provider.event(&message);
                provider.delivery(&message);
                let unsigned = Unsigned { method: "POST", url: &url, headers, body: &body, id: "" };
                let _ = provider.sign(unsigned, &Secret::new(secret.clone()), at);
            }
        }
    }

    #[test]
    fn no_row_makes_it_panic(row in "\\PC{0,40}", msg in "[{}\\[\\]()?:a-z|.]{0,20}") {
        let _ = Provider::parse("p", &row);
        let _ = Provider::parse("p", &format!("sig = 'header:X'\nmsg = '{msg}'"));
        let _ = Provider::parse("p", &format!("sig = '{msg}'\ncheck = [['{msg}', 'body']]"));
    }
}

fn bodies() -> [(&'static str, &'static [u8]); 4] {
    [
        (
            "application/json",
            b"{\"event\":\"x\",\"n\":1.50,\"l\":[null,\"a'b\"]}",
        ),
        (
            "application/x-www-form-urlencoded",
            b"event=x&To=%2B1&To=2&e=",
        ),
        ("application/x-www-form-urlencoded", b""),
        ("", b"a=1"),
    ]
}

fn keys(secrets: &[&str]) -> Keys {
    let secrets = secrets
        .iter()
        .map(|text| Secret::new(text.to_string()))
        .collect();
    Keys {
        secrets,
        ..Keys::default()
    }
}

fn post<'a>(headers: &'a [(&'a [u8], &'a [u8])], body: &'a [u8]) -> Message<'a> {
    Message {
        method: "POST",
        url: URL,
        headers,
        body,
        at: AT,
    }
}

fn unsigned<'a>(headers: &'a [(&'a [u8], &'a [u8])], body: &'a [u8]) -> Unsigned<'a> {
    Unsigned {
        method: "POST",
        url: URL,
        headers,
        body,
        id: "msg_1",
    }
}

/// The headers of a request as the provider sends it, signed with [`WHSEC`] at [`AT`].
fn signed(provider: &Provider, kind: &str, body: &[u8]) -> Headers {
    let given: &[(&[u8], &[u8])] = if kind.is_empty() {
        &[]
    } else {
        &[(b"Content-Type", kind.as_bytes())]
    };
    let mut headers = provider
        .sign(unsigned(given, body), &Secret::new(WHSEC.into()), AT)
        .unwrap();
    if !kind.is_empty() {
        headers.push(("Content-Type".into(), kind.into()));
    }
    headers
}

fn verify(
    provider: &Provider,
    headers: &[(String, String)],
    body: &[u8],
    keys: &Keys,
) -> signature::Judgement {
    let headers: Vec<_> = headers
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    provider.verify(&post(&headers, body), keys)
}

fn event(provider: &Provider, headers: &[(String, String)], body: &[u8]) -> Option<String> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    provider.event(&post(&headers, body))
}
