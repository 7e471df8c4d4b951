//! A provider's event on its way to the app: judged, recorded, retried, replayed.

use capture::{BodyEnd, Outcome, Retry, Store, Trigger};
use client::guard::OnInvalid;
use signature::Verdict;
use testkit::{Answer, Client, Origin, RelaySetup, Script, Setup, World, cloudvno, field};

const BODY: &str = "event=message.delivered&MessageSid=SM01&From=%2B4930123&To=%2B14155550100";

#[tokio::test]
async fn a_signed_event_reaches_the_app_byte_for_byte_with_its_verdict() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();

    let answer = world.event(BODY).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "hello from the app\n");
    let got = world.origin.request().await;
    assert_eq!(got.body, BODY.as_bytes());
    let id = got.field("Adit-Request-Id").expect("an id").to_owned();
    let sent = cloudvno(&format!("https://{host}/webhook"), BODY, Setup::SECRET);
    let sent = sent.split("\r\n\r\n").next().unwrap_or_default();
    assert_eq!(
        got.head,
        format!(
            "{sent}\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: {host}\r\n\
             Forwarded: for=127.0.0.1;host=\"{host}\";proto=https\r\n\
             Adit-Request-Id: {id}\r\nAdit-Signature: valid; provider=cloudvno"
        )
    );
}

#[tokio::test]
async fn what_arrived_is_recorded_exactly_and_survives_reopening_the_store() {
    let world = World::start().await;
    let setup = Setup::default();
    let client = world.client_with(setup.clone()).await.expect("a session");
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 201 Made It\r\nX-b: 2\r\nx-A: 1\r\nX-b: 3\r\nContent-Length: 4\r\n\r\nmade",
    ));

    let url = format!("https://{host}/web//hook?x=1&y=%20;z");
    let sent = cloudvno(&url, BODY, Setup::SECRET).replace(
        "User-Agent:",
        "x-Odd-Case: one\r\nX-ODD-CASE:  two \r\nuser-agent:",
    );
    let answer = world.sender.send(&sent).await;

    assert_eq!(answer.status, 201);
    let delivery = client.delivery(1).await;
    client.stop().await;
    let store = Store::open(setup.home.path(), setup.limits).expect("the store");
    let delivery = store.delivery(delivery.id).await.expect("it reads");
    let delivery = delivery.expect("it is kept");
    assert_eq!(delivery.provider.as_deref(), Some("cloudvno"));
    assert_eq!(delivery.event.as_deref(), Some("message.delivered"));
    assert_eq!(delivery.endpoint, "shop");
    let attempt = &delivery.attempts[0];
    assert_eq!(attempt.signature.verdict, Verdict::Valid);
    assert_eq!(attempt.trigger, Trigger::Live);
    assert_eq!(
        attempt.outcome,
        Outcome::Answered {
            status: 201,
            bytes: 4
        }
    );
    let steps = [
        attempt.timing.received,
        attempt.timing.connected,
        attempt.timing.sent,
        attempt.timing.head,
        attempt.timing.done,
    ];
    let steps: Vec<_> = steps.into_iter().map(|step| step.expect("timed")).collect();
    assert!(steps.is_sorted(), "{steps:?}");

    let request = store.request(attempt.request).await.expect("it reads");
    let request = request.expect("it is kept");
    assert_eq!(request.url(), url);
    assert_eq!(
        (request.method.as_str(), request.version),
        ("POST", "HTTP/1.1")
    );
    assert_eq!(request.target, "/web//hook?x=1&y=%20;z");
    assert!(
        request.remote.starts_with("127.0.0.1:"),
        "{}",
        request.remote
    );
    assert_eq!(request.body.bytes, BODY.as_bytes());
    assert_eq!(request.body.end, BodyEnd::Whole);
    let head = sent.split("\r\n\r\n").next().unwrap_or_default();
    assert_eq!(text(&request.fields), testkit::fields(head));

    let response = store.response(delivery.id, 1).await.expect("it reads");
    let response = response.expect("it is kept");
    assert_eq!(
        (response.status, response.reason.as_str()),
        (201, "Made It")
    );
    assert_eq!(
        text(&response.fields),
        testkit::fields("\r\nX-b: 2\r\nx-A: 1\r\nX-b: 3\r\nContent-Length: 4")
    );
    assert_eq!(response.body.bytes, &b"made"[..]);
}

#[tokio::test]
async fn a_tampered_body_is_forwarded_and_marked_invalid() {
    let world = World::start().await;
    let client = world.client().await;
    let url = format!("https://{}/webhook", world.host());
    let sent = cloudvno(&url, BODY, Setup::SECRET).replace("SM01", "SM02");

    assert_eq!(world.sender.send(sent).await.status, 200);

    let got = world.origin.request().await;
    assert_eq!(
        got.field("Adit-Signature"),
        Some("invalid; provider=cloudvno")
    );
    let judged = client.delivery(1).await.attempts[0].signature.clone();
    assert_eq!(judged.verdict, Verdict::Invalid);
    assert!(judged.why.is_some());
}

#[tokio::test]
async fn an_unsigned_request_to_a_guarded_path_is_marked_missing() {
    let world = World::start().await;
    let setup = Setup {
        guarded: vec![String::from("/webhook")],
        ..Setup::default()
    };
    let client = world.client_with(setup).await.expect("a session");

    assert_eq!(world.get("/webhook").await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(
        got.field("Adit-Signature"),
        Some("missing; provider=cloudvno")
    );
    assert_eq!(
        client.delivery(1).await.attempts[0].signature.verdict,
        Verdict::Missing
    );

    // Beside the guarded path nothing is expected, so nothing is said.
    assert_eq!(world.get("/other").await.status, 200);
    assert_eq!(world.origin.request().await.field("Adit-Signature"), None);
}

#[tokio::test]
async fn a_known_provider_without_a_secret_is_said_to_have_none() {
    let world = World::start().await;
    let setup = Setup {
        secret: String::new(),
        ..Setup::default()
    };
    let _client = world.client_with(setup).await.expect("a session");

    assert_eq!(world.event(BODY).await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(
        got.field("Adit-Signature"),
        Some("no-secret; provider=cloudvno")
    );
}

#[tokio::test]
async fn unicode_in_a_signed_form_verifies() {
    let world = World::start().await;
    let _client = world.client().await;
    let body = "event=message.received&MessageSid=MM1&Body=Gr%C3%BC%C3%9Fe+aus+Z%C3%BCrich+%E2%80%93+%F0%9F%98%80";

    assert_eq!(world.event(body).await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(
        got.field("Adit-Signature"),
        Some("valid; provider=cloudvno")
    );
    assert_eq!(got.body, body.as_bytes());
}

#[tokio::test]
async fn the_signed_url_is_the_public_one_and_no_other() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let origin = world.origin.address();
    for (signed, verdict) in [
        (format!("https://{host}/webhook?a=b"), "valid"),
        (format!("http://{host}/webhook?a=b"), "invalid"),
        (format!("http://{origin}/webhook?a=b"), "invalid"),
        (format!("https://{host}/webhook"), "invalid"),
    ] {
        let other = signed.replace("http://", "https://");
        let signature = cloudvno(&other, BODY, Setup::SECRET);
        let signature = match signed == other {
            true => signature_of(&signature),
            false => signature_for(&signed),
        };
        let request = cloudvno(&format!("https://{host}/webhook?a=b"), BODY, Setup::SECRET);
        let request = request.replace(&signature_of(&request), &signature);
        assert_eq!(world.sender.send(request).await.status, 200);
        let got = world.origin.request().await;
        let expected = format!("{verdict}; provider=cloudvno");
        assert_eq!(
            got.field("Adit-Signature"),
            Some(expected.as_str()),
            "{signed}"
        );
    }
}

#[tokio::test]
async fn retries_of_one_event_are_one_delivery_with_the_next_retry_expected() {
    let world = World::start().await;
    let client = world.client().await;
    world.origin.next(Script::answer(500, "broken"));
    world.origin.next(Script::answer(503, "still broken"));

    assert_eq!(world.event(BODY).await.status, 500);
    let first = client.delivery(1).await;
    let Retry::At { number: 1, of, .. } = first.retry else {
        panic!("the first retry is expected, not {:?}", first.retry);
    };
    assert!(of > 1, "CloudVNO tries more than once");

    assert_eq!(world.event(BODY).await.status, 503);
    let second = client.delivery(2).await;
    assert_eq!(second.id, first.id);
    assert_eq!(second.attempts[1].trigger, Trigger::Retry);
    assert!(matches!(second.retry, Retry::At { number: 2, of: n, .. } if n == of));

    assert_eq!(world.event(BODY).await.status, 200);
    let third = client.delivery(3).await;
    assert_eq!(third.retry, Retry::NotDue);
    let statuses: Vec<_> = third.attempts.iter().map(|a| a.outcome.status()).collect();
    assert_eq!(statuses, [Some(500), Some(503), Some(200)]);

    // Another event is another delivery.
    assert_eq!(world.event(&BODY.replace("SM01", "SM09")).await.status, 200);
    client
        .records_when("two deliveries", |all| all.len() == 2)
        .await;
}

#[tokio::test]
async fn a_replay_is_one_more_attempt_and_the_original_stays() {
    let world = World::start().await;
    let client = world.client().await;
    world.origin.next(Script::answer(500, "broken"));
    assert_eq!(world.event(BODY).await.status, 500);
    let original = world.origin.request().await;
    let delivery = client.delivery(1).await;
    let before = client.exact(&delivery, 1).await;

    assert_eq!(
        client.replay(&delivery).await.expect("it can be replayed"),
        2
    );

    let again = world.origin.request().await;
    assert_eq!(again.body, original.body);
    assert_eq!(
        again.field("Adit-Replay-Of"),
        original.field("Adit-Request-Id")
    );
    assert_eq!(
        again.field("Adit-Signature"),
        Some("valid; provider=cloudvno")
    );
    let strip = |head: &str| {
        head.split("\r\nAdit-")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(strip(&again.head), strip(&original.head));
    assert_eq!(original.field("Adit-Replay-Of"), None);

    let delivery = client.delivery(2).await;
    assert_eq!(delivery.attempts[0].outcome.status(), Some(500));
    assert_eq!(delivery.attempts[1].outcome.status(), Some(200));
    assert_eq!(delivery.attempts[1].trigger, Trigger::Replay);
    assert_eq!(delivery.attempts[1].request, delivery.attempts[0].request);
    // CloudVNO never hears of a replay: it will try again.
    assert!(matches!(delivery.retry, Retry::At { number: 1, .. }));
    let after = client.exact(&delivery, 1).await;
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    let (_, answer) = client.exact(&delivery, 2).await;
    assert_eq!(answer.expect("the answer is kept").status, 200);
}

#[tokio::test]
async fn what_failed_while_the_app_was_down_is_replayed_once_it_is_up() {
    let mut world = World::with(RelaySetup::Open, Origin::absent()).await;
    let client = world.client().await;
    assert_eq!(world.event(BODY).await.cause(), Some("app-refused"));
    let delivery = client.delivery(1).await;
    assert!(delivery.is_failed());

    world.origin.appear();
    assert_eq!(
        client.replay(&delivery).await.expect("it can be replayed"),
        2
    );

    assert_eq!(world.origin.request().await.body, BODY.as_bytes());
    let delivery = client.delivery(2).await;
    assert!(!delivery.is_failed());
}

#[tokio::test]
async fn a_replay_after_a_restart_sends_the_same_bytes() {
    let world = World::start().await;
    let setup = Setup::default();
    let client = world.client_with(setup.clone()).await.expect("a session");
    let host = world.host();
    let request = format!(
        "PUT /chunks HTTP/1.1\r\nhost: {host}\r\nTRANSFER-Encoding: chunked\r\nX-Last: 1\r\n\r\n\
         5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n"
    );
    assert_eq!(world.sender.send(request).await.status, 200);
    let first = world.origin.request().await;
    let delivery = client.delivery(1).await;
    client.stop().await;

    let client = world.client_with(setup).await.expect("a session");
    let delivery = client.store.delivery(delivery.id).await.expect("it reads");
    let delivery = delivery.expect("it is kept");
    assert_eq!(
        client.replay(&delivery).await.expect("it can be replayed"),
        2
    );

    let again = world.origin.request().await;
    assert_eq!(again.body, b"hello world");
    assert_eq!(again.trailers, first.trailers);
    assert_eq!(field(&again.trailers, "X-Sum"), Some("42"));
    assert_eq!(again.field("transfer-encoding"), Some("chunked"));
    let own = |head: &str| {
        head.split("\r\nX-Forwarded")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(own(&again.head), own(&first.head));
}

#[tokio::test]
async fn rejecting_answers_401_and_the_app_never_sees_the_request() {
    let world = World::start().await;
    let client = rejecting(&world).await;
    let url = format!("https://{}/webhook", world.host());

    let tampered = cloudvno(&url, BODY, Setup::SECRET).replace("SM01", "SM02");
    refused(&world.sender.send(tampered).await);
    let other_secret = cloudvno(&url, BODY, "another secret");
    refused(&world.sender.send(other_secret).await);
    refused(&world.get("/webhook").await);

    assert_eq!(world.origin.seen(), 0, "the app saw nothing");
    let all = client
        .records_when("three refused requests", |all| {
            all.len() == 3
                && all
                    .iter()
                    .all(|d| d.attempts[0].outcome != Outcome::Pending)
        })
        .await;
    for delivery in all {
        let Outcome::Failed {
            status,
            cause,
            may_have_run,
            ..
        } = &delivery.attempts[0].outcome
        else {
            panic!("{delivery:?}");
        };
        assert_eq!(
            (*status, cause.as_str(), *may_have_run),
            (Some(401), "bad-signature", false)
        );
        assert!(
            !delivery.is_failed(),
            "nothing that a bulk replay would send"
        );
    }

    assert_eq!(world.event(BODY).await.status, 200);
    assert_eq!(world.origin.seen(), 1);
}

#[tokio::test]
async fn a_forged_request_never_joins_the_delivery_of_the_event_it_names() {
    let world = World::start().await;
    let client = world.client().await;
    let url = format!("https://{}/webhook", world.host());
    assert_eq!(world.event(BODY).await.status, 200);
    let forged = cloudvno(&url, BODY, "another secret");
    assert_eq!(world.sender.send(forged.clone()).await.status, 200);
    assert_eq!(world.sender.send(forged).await.status, 200);
    assert_eq!(world.event(BODY).await.status, 200);
    let all = client
        .records_when("two deliveries of two attempts", |all| {
            all.len() == 2 && all.iter().all(|d| d.attempts.len() == 2)
        })
        .await;
    for delivery in all {
        let verdicts: Vec<Verdict> = delivery
            .attempts
            .iter()
            .map(|a| a.signature.verdict)
            .collect();
        assert_eq!(verdicts[0], verdicts[1], "{delivery:?}");
    }
}

#[tokio::test]
async fn a_body_too_long_to_be_judged_is_refused_where_bad_signatures_are() {
    let world = World::start().await;
    let _client = rejecting(&world).await;
    let host = world.host();
    let length = client::delivery::HOLD + 1;

    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST /webhook HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    let answer = wire.answer().await;

    assert_eq!((answer.status, answer.cause()), (413, Some("body-limit")));
    assert_eq!(world.origin.seen(), 0);
}

#[tokio::test]
async fn an_event_cut_before_its_end_is_recorded_as_cut_and_not_forwarded() {
    let world = World::start().await;
    let client = world.client().await;
    let url = format!("https://{}/webhook", world.host());
    let sent = cloudvno(&url, BODY, Setup::SECRET);
    let mut wire = world.sender.connect().await;
    wire.write(&sent[..sent.len() - 1]).await;
    client
        .records_when("the head is recorded", |all| all.len() == 1)
        .await;

    drop(wire);

    let delivery = client.delivery(1).await;
    assert!(delivery.is_failed());
    assert_ne!(delivery.attempts[0].signature.verdict, Verdict::Valid);
    let (request, answer) = client.exact(&delivery, 1).await;
    assert_eq!(request.body.end, BodyEnd::Cut);
    assert!(answer.is_none());
    assert!(client.replay(&delivery).await.is_err(), "it was not whole");
    assert_eq!(world.origin.seen(), 0);
}

async fn rejecting(world: &World) -> Client {
    let setup = Setup {
        guarded: vec![String::from("/webhook")],
        on_invalid: OnInvalid::Reject,
        ..Setup::default()
    };
    world.client_with(setup).await.expect("a session")
}

#[track_caller]
fn refused(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.cause()),
        (401, Some("bad-signature"))
    );
}

/// CloudVNO's signature in a request.
fn signature_of(request: &str) -> String {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    let fields = testkit::fields(head);
    field(&fields, "X-CloudVNO-Signature")
        .expect("it is signed")
        .to_owned()
}

/// CloudVNO's signature for any URL.
fn signature_for(url: &str) -> String {
    let catalogue = signature::Catalogue::builtin();
    let kind: (&[u8], &[u8]) = (b"Content-Type", b"application/x-www-form-urlencoded");
    let unsigned = signature::Unsigned {
        method: "POST",
        url,
        headers: &[kind],
        body: BODY.as_bytes(),
        id: "",
    };
    let secret = signature::Secret::new(String::from(Setup::SECRET));
    let provider = catalogue.get("cloudvno").expect("CloudVNO is known");
    let signed = provider
        .sign(unsigned, &secret, 0)
        .expect("forms are signed");
    field(&signed, "X-CloudVNO-Signature")
        .expect("it is signed")
        .to_owned()
}

fn text(fields: &capture::Fields) -> testkit::Fields {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
