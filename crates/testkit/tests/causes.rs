//! Every answer that the app did not write says why: the table of `Adit-Cause`.

use capture::Outcome;
use client::delivery::Forwarding;
use std::time::Duration;
use testkit::{Answer, Client, End, Gate, Origin, RelaySetup, Script, Setup, World};
use tunnel::Transport;

testkit::over_both! {
    a_client_killed_during_a_request_is_502_tunnel_lost,
    a_client_stopped_during_a_request_is_502_at_once,
    a_client_killed_inside_an_answer_is_seen_as_a_cut,
}

#[tokio::test]
async fn a_name_that_nobody_has_is_404() {
    let world = World::start().await;
    let _client = world.client().await;
    let port = world.relay.address().port();
    for host in [
        format!("nobody.localhost:{port}"),
        format!("localhost:{port}"),
        format!("a.shop.localhost:{port}"),
        String::from("shop.example.com"),
        format!("127.0.0.1:{port}"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = world.sender.send(request).await;
        is(&answer, 404, "unknown-name");
        assert!(
            !answer.text().contains(&host),
            "nothing of the request is repeated"
        );
    }
    assert_eq!(world.origin.seen(), 0);
}

#[tokio::test]
async fn a_client_that_left_is_503_with_retry_after() {
    let world = World::start().await;
    let client = world.client().await;
    assert_eq!(world.get("/").await.status, 200);
    client.stop().await;

    let answer = world.away().await;
    is(&answer, 503, "client-away");
    let seconds: u32 = answer
        .field("Retry-After")
        .and_then(|value| value.parse().ok())
        .expect("Retry-After");
    assert!(seconds > 0);
}

#[tokio::test]
async fn nothing_at_the_apps_port_is_502_app_refused() {
    let world = World::with(RelaySetup::Open, Origin::absent()).await;
    let client = world.client().await;
    let answer = world.get("/").await;
    is(&answer, 502, "app-refused");
    failed(&client, "app-refused", false).await;
    // The sender can name the request that the record shows.
    let id = client.delivery(1).await.id.to_string();
    assert_eq!(answer.field("Adit-Request-Id"), Some(id.as_str()));
}

#[tokio::test]
async fn an_app_that_does_not_speak_http_is_502_app_broken() {
    for (what, script) in [
        ("garbage", Script::raw("garbage\r\n\r\n").gone()),
        ("nothing", Script::default().request().close()),
        ("a reset", Script::default().request().reset()),
        (
            "half a head",
            Script::raw("HTTP/1.1 200 OK\r\nContent-").close(),
        ),
        (
            "a status of two digits",
            Script::raw("HTTP/1.1 20 OK\r\n\r\n").gone(),
        ),
        ("HTTP/2", Script::raw("HTTP/2 200 OK\r\n\r\n").gone()),
        (
            "a space before a colon",
            Script::raw("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi").gone(),
        ),
        (
            "two lengths",
            Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi")
                .gone(),
        ),
        (
            "a switch that nobody asked for",
            Script::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n").gone(),
        ),
        (
            "an endless head",
            Script::raw(format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(70_000)
            ))
            .gone(),
        ),
    ] {
        let world = World::start().await;
        let client = world.client().await;
        world.origin.next(script);
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.cause()),
            (502, Some("app-broken")),
            "{what}"
        );
        failed(&client, "app-broken", true).await;
        // The next request is not harmed.
        assert_eq!(world.get("/").await.status, 200, "after {what}");
    }
}

#[tokio::test]
async fn an_app_without_an_answer_in_time_is_504_and_is_hung_up_on() {
    let world = World::start().await;
    let client = impatient(&world).await;
    world.origin.next(Script::never());

    is(&world.get("/").await, 504, "app-timeout");

    world.origin.gone().await;
    failed(&client, "app-timeout", true).await;
}

#[tokio::test]
async fn an_app_with_half_a_head_in_time_is_504() {
    let world = World::start().await;
    let _client = impatient(&world).await;
    world.origin.next(Script::raw("HTTP/1.1 200 OK\r\n").gone());
    is(&world.get("/").await, 504, "app-timeout");
}

#[tokio::test]
async fn a_slow_body_is_no_timeout() {
    let world = World::start().await;
    let _client = impatient(&world).await;
    let gate = Gate::default();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    world
        .origin
        .next(Script::raw(head).wait(&gate).send("slowly"));

    let mut wire = world.begin("/").await;
    let answer = wire.head().await;
    assert_eq!(answer.status, 200);
    // Another request runs into the limit meanwhile: it is longer ago than that.
    world.origin.next(Script::never());
    is(&world.get("/").await, 504, "app-timeout");
    gate.open();
    assert_eq!(wire.bytes(6).await, b"slowly");
}

#[tokio::test]
async fn a_slow_upload_is_no_timeout() {
    let world = World::start().await;
    let _client = impatient(&world).await;
    let host = world.host();
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\n\r\nslo"
    ))
    .await;
    world.origin.head().await;
    // As above: this takes as long as the limit.
    world.origin.next(Script::never());
    is(&world.get("/").await, 504, "app-timeout");
    wire.write("wly").await;
    assert_eq!(wire.answer().await.status, 200);
}

async fn a_client_killed_during_a_request_is_502_tunnel_lost(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    world.origin.next(Script::never());
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    client.kill();

    let answer = wire.answer().await;
    is(&answer, 502, "tunnel-lost");
    assert!(answer.field("Retry-After").is_some());
    is(&world.get("/").await, 503, "client-away");
}

async fn a_client_stopped_during_a_request_is_502_at_once(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    world.origin.next(Script::never());
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    client.stop().await;

    is(&wire.answer().await, 502, "tunnel-lost");
    world.origin.gone().await;
}

async fn a_client_killed_inside_an_answer_is_seen_as_a_cut(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    world.origin.next(Script::raw(head).gone());
    let mut wire = world.begin("/").await;
    let answer = wire.head().await;
    assert_eq!(answer.status, 200);
    assert_eq!(wire.bytes(4).await, b"half");

    client.kill();

    assert_eq!(
        wire.closed().await,
        b"",
        "no more of it, and no second answer"
    );
}

#[tokio::test]
async fn a_malformed_request_is_400_and_the_connection_is_closed() {
    let world = World::start().await;
    let _client = world.client().await;
    let mut wire = world.sender.connect().await;
    wire.write("GET / HTTP/1.1\r\nno colon here\r\n\r\n").await;
    let answer = wire.answer().await;
    is(&answer, 400, "malformed");
    assert_eq!(answer.field("Connection"), Some("close"));
    assert_eq!(wire.closed().await, b"");
}

#[tokio::test]
async fn a_head_over_the_limit_is_431_and_the_connection_is_closed() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let long = format!("X-Long: {}\r\n", "x".repeat(70_000));
    let many: String = (0..300).map(|i| format!("X-{i}: {i}\r\n")).collect();
    for fields in [long, many] {
        let mut wire = world.sender.connect().await;
        wire.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
            .await;
        is(&wire.answer().await, 431, "header-limit");
        wire.closed().await;
    }
    assert_eq!(world.origin.seen(), 0);
}

/// Waits for the relay's own limit, 15 s: sockets cannot be read with a paused clock.
#[tokio::test]
async fn a_head_that_never_ends_is_408_slow_sender() {
    let world = World::start().await;
    let mut wire = world.sender.connect().await;
    wire.write("GET / HTTP/1.1\r\nHost:").await;
    is(&wire.answer().await, 408, "slow-sender");
    wire.closed().await;
}

#[tokio::test]
async fn nobody_but_us_says_adit_cause() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 503 Mine\r\nADIT-cause: client-away\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n",
    ));

    let answer = world
        .sender
        .send(format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nadit-CAUSE: x\r\nAdit-Signature: valid\r\n\
             Adit-Request-Id: mine\r\nAdit-Replay-Of: mine\r\nAdit-Else: mine\r\n\r\n"
        ))
        .await;

    assert_eq!((answer.status, answer.cause()), (503, None));
    assert_eq!(answer.field("X-Mine"), Some("1"));
    let got = world.origin.request().await;
    let ours: Vec<_> = got
        .fields
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("adit-"))
        .collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0].0, "Adit-Request-Id");
    assert_ne!(ours[0].1, "mine");
}

#[tokio::test]
async fn an_answer_of_ours_leaves_the_connection_usable() {
    let mut world = World::with(RelaySetup::Open, Origin::absent()).await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = world.sender.connect().await;
    let get = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    wire.write(&get).await;
    is(&wire.answer().await, 502, "app-refused");

    world.origin.appear();
    wire.write(&get).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn our_answer_to_a_head_has_no_body() {
    let world = World::start().await;
    let port = world.relay.address().port();
    let mut wire = world.sender.connect().await;
    let request = format!("HEAD / HTTP/1.1\r\nHost: nobody.localhost:{port}\r\n\r\n");
    for _ in 0..2 {
        wire.write(&request).await;
        let answer = wire.answer_to(true).await;
        is(&answer, 404, "unknown-name");
        assert_ne!(answer.field("Content-Length"), Some("0"));
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, cause: &str) {
    assert_eq!((answer.status, answer.cause()), (status, Some(cause)));
    assert_eq!(answer.end, End::Whole);
}

/// A client that gives the app half a second.
async fn impatient(world: &World) -> Client {
    let setup = Setup::default();
    let setup = Setup {
        forwarding: Forwarding {
            timeout: Some(Duration::from_millis(500)),
            ..setup.forwarding.clone()
        },
        ..setup
    };
    world.client_with(setup).await.expect("a session")
}

/// The only delivery failed for this cause.
async fn failed(client: &Client, wanted: &str, may_have: bool) {
    let delivery = client
        .records_when("a failed delivery", |all| all.iter().any(|d| d.is_failed()))
        .await;
    let Outcome::Failed {
        cause,
        why,
        may_have_run,
        ..
    } = &delivery[0].attempts[0].outcome
    else {
        panic!("{delivery:?}");
    };
    assert_eq!((cause.as_str(), *may_have_run), (wanted, may_have));
    assert!(!why.is_empty());
}
