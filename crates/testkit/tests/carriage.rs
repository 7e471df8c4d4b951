//! What HTTP/1 carries from sender to app and back, and what stays behind.

use testkit::{End, Gate, Script, World, field};
use tunnel::Transport;

testkit::over_both! {
    chunks_and_trailers_pass_both_ways,
    any_method_and_any_bytes_pass,
    a_cut_answer_is_seen_as_a_cut,
    an_app_killed_inside_its_answer_is_seen_as_a_cut,
    an_answer_before_the_end_of_the_request_reaches_the_sender,
    an_app_may_answer_while_it_still_reads,
    a_websocket_carries_raw_bytes_both_ways_and_ends_one_side_at_a_time,
    a_websocket_ends_for_one_when_the_other_leaves,
    early_hints_pass_before_the_answer,
}

const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn fields_of_the_connection_stay_behind_both_ways() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nX-Stays: 1\r\nX-Stays: 2\r\nContent-Length: 0\r\n\r\n",
    ));

    let answer = world
        .sender
        .send(format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: x-hop, Keep-Alive\r\nX-Hop: 1\r\n\
             Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: gzip\r\n\
             X-Stays: 1\r\nx-stays: 2\r\n\r\n"
        ))
        .await;

    let got = world.origin.request().await;
    let own = got.head.split("\r\nX-Forwarded").next().unwrap_or_default();
    assert_eq!(
        own,
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Stays: 1\r\nx-stays: 2")
    );
    assert_eq!(
        answer.head,
        "HTTP/1.1 200 OK\r\nX-Stays: 1\r\nX-Stays: 2\r\nContent-Length: 0"
    );
}

#[tokio::test]
async fn te_trailers_is_promised_to_the_app_anew() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let request =
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(world.sender.send(request).await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(got.field("TE"), Some("trailers"));
    assert_eq!(got.field("Connection"), Some("TE"));
}

#[tokio::test]
async fn a_strangers_claims_about_himself_are_replaced() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.0.0.1\r\nx-forwarded-proto: http\r\n\
         X-FORWARDED-HOST: bank\r\nForwarded: for=10.0.0.1\r\nForwarded: for=10.0.0.2\r\n\r\n"
    );
    assert_eq!(world.sender.send(request).await.status, 200);
    let got = world.origin.request().await;
    let all = |name: &str| -> Vec<&str> {
        got.fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    };
    assert_eq!(all("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(all("X-Forwarded-Host"), [host.as_str()]);
    let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=https");
    assert_eq!(all("Forwarded"), [forwarded.as_str()]);
}

#[tokio::test]
async fn what_only_we_may_say_is_removed_however_it_is_spelled() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nAdit_Signature: valid\r\nX_Forwarded_For: 10.0.0.1\r\n\
         Adit-Anything: x\r\nConnection: Host\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nAdit-Signature: valid\r\nForwarded: for=10.0.0.1\r\nUpgrade: h2c\r\nX-Sum: 1\r\n\r\n"
    );
    world.origin.next(Script::raw(
        "HTTP/1.1 103 Early Hints\r\nAdit-Cause: internal\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nAdit-Cause: internal\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nAdit-Cause: internal\r\nX-Sum: 2\r\n\r\n",
    ));
    let mut wire = world.sender.connect().await;
    wire.write(&request).await;
    let answer = format!("{}{:?}", wire.interim().await, wire.answer().await);
    assert!(
        answer.contains("Link: </a>") && answer.contains("X-Sum"),
        "{answer}"
    );
    assert!(!answer.contains("Adit-Cause"), "{answer}");
    let got = world.origin.request().await;
    assert_eq!(
        got.field("Host"),
        Some(host.as_str()),
        "Connection cannot take it"
    );
    let whole = format!("{}{:?}", got.head, got.trailers);
    for gone in [
        "Adit_",
        "X_Forwarded",
        "Adit-Anything",
        "Adit-Signature",
        "10.0.0.1",
        "h2c",
    ] {
        assert!(!whole.contains(gone), "{gone} in {whole}");
    }
    assert!(whole.contains("X-Sum"), "{whole}");
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_when_they_come_at_once() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = world.sender.connect().await;
    let three: String = (1..=3)
        .map(|i| format!("POST /{i} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nb{i}"))
        .collect();
    for i in 1..=3 {
        world.origin.next(Script::ok(&format!("answer {i}")));
    }
    wire.write(three).await;
    for i in 1..=3 {
        assert_eq!(wire.answer().await.text(), format!("answer {i}"));
        let got = world.origin.request().await;
        assert_eq!(got.line(), format!("POST /{i} HTTP/1.1"));
        assert_eq!(got.body, format!("b{i}").as_bytes());
    }
    wire.write(format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.field("Connection"), Some("close"));
    assert_eq!(wire.closed().await, b"");
}

#[tokio::test]
async fn http_1_0_is_answered_and_the_connection_closed() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ));
    let mut wire = world.sender.connect().await;
    wire.write(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"))
        .await;
    let answer = wire.answer().await;
    // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    assert_eq!(answer.field("Transfer-Encoding"), None);
    assert_eq!((answer.text().as_str(), answer.end), ("hello", End::Whole));
    assert_eq!(world.origin.request().await.line(), "GET / HTTP/1.1");
}

#[tokio::test]
async fn http_1_0_keeps_the_connection_when_it_asks_to() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = world.sender.connect().await;
    for _ in 0..2 {
        wire.write(format!(
            "GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status, answer.field("Connection")),
            (200, Some("keep-alive"))
        );
    }
}

#[tokio::test]
async fn http_1_0_without_a_host_leads_nowhere() {
    let world = World::start().await;
    let _client = world.client().await;
    let answer = world.sender.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((answer.status, answer.cause()), (404, Some("unknown-name")));
}

#[tokio::test]
async fn an_answer_cut_towards_http_1_0_is_seen_as_a_cut() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(
        Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").close(),
    );
    let request = format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n");
    let answer = world.sender.send(request).await;
    // Only TLS can tell: the connection ends without its goodbye.
    assert_eq!((answer.text().as_str(), answer.end), ("hello", End::Cut));
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = world.sender.connect().await;
    for (method, script, status, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            200,
            Some("1000"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
            None,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
            304,
            Some("7"),
        ),
        (
            "POST",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            Some("0"),
        ),
    ] {
        world.origin.next(Script::raw(script));
        wire.write(format!("{method} / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let answer = wire.answer_to(method == "HEAD").await;
        assert_eq!(
            (answer.status, answer.field("Content-Length")),
            (status, length),
            "{script}"
        );
    }
    wire.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    assert_eq!(
        wire.answer().await.text(),
        "hello from the app\n",
        "nothing was left over"
    );
}

async fn early_hints_pass_before_the_answer(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let gate = Gate::default();
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nlink: </b.css>\r\n\r\n";
    world.origin.next(
        Script::raw(hints)
            .wait(&gate)
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    let mut wire = world.begin("/").await;
    let hints = wire.interim().await;
    assert_eq!(
        hints,
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nlink: </b.css>"
    );
    gate.open();
    assert_eq!(wire.answer().await.text(), "ok");
}

#[tokio::test]
async fn early_hints_do_not_reach_http_1_0() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ));
    let answer = world
        .sender
        .send(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"))
        .await;
    assert_eq!((answer.status, answer.interim.len()), (200, 0));
}

#[tokio::test]
async fn a_sender_that_waits_for_100_is_told_by_the_app() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(
        Script::default()
            .send("HTTP/1.1 100 Continue\r\n\r\n")
            .request()
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    ))
    .await;
    assert!(wire.interim().await.starts_with("HTTP/1.1 100"));
    assert_eq!(
        world.origin.head().await.field("Expect"),
        Some("100-continue")
    );
    wire.write("hello").await;
    assert_eq!(wire.answer().await.text(), "ok");
    assert_eq!(world.origin.request().await.body, b"hello");
}

#[tokio::test]
async fn a_provider_that_waits_for_100_is_told_by_us() {
    let world = World::start().await;
    let _client = world.client().await;
    let url = format!("https://{}/webhook", world.host());
    let sent = testkit::cloudvno(&url, "event=call.answered", testkit::Setup::SECRET);
    let (head, body) = sent.split_once("\r\n\r\n").expect("a head and a body");
    let mut wire = world.sender.connect().await;
    wire.write(format!("{head}\r\nExpect: 100-continue\r\n\r\n"))
        .await;
    assert!(wire.interim().await.starts_with("HTTP/1.1 100"));
    assert_eq!(
        world.origin.seen(),
        0,
        "the app gets it with its verdict, so later"
    );
    wire.write(body).await;
    assert_eq!(wire.answer().await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(got.field("Expect"), None);
    assert_eq!(
        got.field("Adit-Signature"),
        Some("valid; provider=cloudvno")
    );
}

#[tokio::test]
async fn a_refusal_instead_of_100_reaches_the_sender() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(
        Script::default()
            .send("HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .close(),
    );
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 417);
}

async fn chunks_and_trailers_pass_both_ways(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::raw(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\ntransfer-ENCODING: chunked\r\n\r\n\
         3\r\nabc\r\n3\r\ndef\r\n0\r\nx-SUM: 7\r\nX-More: 8\r\nContent-Length: 9\r\n\r\n",
    ));
    let answer = world
        .sender
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nTrailer: X-Up\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nhell\r\n1\r\no\r\n0\r\nX-UP: 1\r\nx-up: 2\r\nTransfer-Encoding: gzip\r\n\r\n"
        ))
        .await;

    let got = world.origin.request().await;
    assert_eq!(got.body, b"hello");
    assert_eq!(got.field("Transfer-Encoding"), Some("chunked"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    // A trailer never says how long a body is.
    assert_eq!(got.trailers, [pair("X-UP", "1"), pair("x-up", "2")]);
    assert_eq!(answer.text(), "abcdef");
    assert_eq!(answer.trailers, [pair("x-SUM", "7"), pair("X-More", "8")]);
    assert!(
        answer.head.contains("transfer-ENCODING: chunked"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    for framing in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{framing}");
        assert_eq!(world.sender.send(request).await.status, 200);
        assert_eq!(world.origin.request().await.body, b"hello");
    }
}

async fn any_method_and_any_bytes_pass(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let body: Vec<u8> = (0..=255).collect();
    let mut request =
        format!("M-SEARCH /%00%ff/../a//b HTTP/1.1\r\nHost: {host}\r\nX-Latin: ").into_bytes();
    request.extend_from_slice(b"caf\xe9\r\nContent-Length: 256\r\n\r\n");
    request.extend_from_slice(&body);
    assert_eq!(world.sender.send(request).await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(got.line(), "M-SEARCH /%00%ff/../a//b HTTP/1.1");
    assert_eq!(got.field("X-Latin"), Some("caf\u{e9}"));
    assert_eq!(got.body, body);
}

#[tokio::test]
async fn a_body_that_ends_with_the_apps_connection_is_whole() {
    let world = World::start().await;
    let _client = world.client().await;
    for script in [
        Script::raw("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold ")
            .send("school")
            .close(),
        Script::raw("HTTP/1.1 200 OK\r\n\r\nold school")
            .half_close()
            .gone(),
        Script::raw("HTTP/1.1 200 OK\nContent-Length: 10\n\nold school").gone(),
    ] {
        world.origin.next(script);
        let answer = world.get("/").await;
        assert_eq!(
            (answer.text().as_str(), answer.end),
            ("old school", End::Whole)
        );
    }
}

async fn a_cut_answer_is_seen_as_a_cut(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (what, script) in [
        ("a length not reached", Script::raw(length).close()),
        (
            "a length not reached, half closed",
            Script::raw(length).half_close().gone(),
        ),
        ("a reset", Script::raw(length).reset()),
        ("no last chunk", Script::raw(chunked).close()),
        (
            "a bad chunk",
            Script::raw(chunked).send("nonsense\r\n").gone(),
        ),
    ] {
        world.origin.next(script);
        let answer = world.get("/").await;
        assert_eq!((answer.status, answer.end), (200, End::Cut), "{what}");
        assert!(b"hello".starts_with(&answer.body[..]), "{what}");
        assert_eq!(
            world.get("/").await.end,
            End::Whole,
            "the next, after {what}"
        );
    }
}

async fn an_app_killed_inside_its_answer_is_seen_as_a_cut(transport: Transport) {
    let mut world = World::over(transport).await;
    let _client = world.client().await;
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    world.origin.next(Script::raw(length).gone());
    let mut wire = world.begin("/").await;
    assert_eq!(wire.head().await.status, 200);
    assert_eq!(wire.bytes(5).await, b"hello");
    world.origin.kill();
    assert_eq!(wire.closed().await, b"");
    assert_eq!(world.get("/").await.cause(), Some("app-refused"));
}

#[tokio::test]
async fn more_than_the_apps_length_says_is_not_taken_for_the_next_answer() {
    let world = World::start().await;
    let _client = world.client().await;
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 Evil\r\n\r\n";
    world.origin.next(Script::raw(long).gone());
    assert_eq!(world.get("/").await.text(), "ok");
    assert_eq!(world.get("/").await.text(), "hello from the app\n");
}

#[tokio::test]
async fn a_connection_that_the_app_closed_between_requests_costs_no_request() {
    let world = World::start().await;
    let _client = world.client().await;
    for _ in 0..20 {
        world.origin.next(Script::ok("one").close());
        assert_eq!(world.get("/").await.text(), "one");
        world.origin.gone().await;
    }
}

async fn an_answer_before_the_end_of_the_request_reaches_the_sender(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(
        Script::default()
            .some(1)
            .send("HTTP/1.1 413 Too Much\r\nContent-Length: 7\r\nConnection: close\r\n\r\nenough!")
            .gone(),
    );
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\nsome"
    ))
    .await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "enough!"));
    // What is left of the request has no place to go.
    assert_eq!(wire.closed().await, b"");
    world.origin.gone().await;
}

async fn an_app_may_answer_while_it_still_reads(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(
        Script::default()
            .some(4)
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            .request()
            .send("3\r\ntwo\r\n0\r\n\r\n"),
    );
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 8\r\n\r\nhalf"
    ))
    .await;
    assert_eq!(wire.head().await.status, 200);
    assert_eq!(wire.bytes(8).await, b"3\r\none\r\n");
    wire.write("half").await;
    assert_eq!(wire.bytes(13).await, b"3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(world.origin.request().await.body, b"halfhalf");
}

async fn a_websocket_carries_raw_bytes_both_ways_and_ends_one_side_at_a_time(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let host = world.host();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
    world.origin.next(Script::raw(switch).echo());
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\n{WEBSOCKET}\r\n"
    ))
    .await;

    let answer = wire.head().await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("Upgrade"), Some("websocket"));
    assert_eq!(
        answer.field("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let got = world.origin.request().await;
    assert_eq!(got.field("Upgrade"), Some("websocket"));
    assert_eq!(wire.bytes(5).await, b"first");
    // No HTTP any more, whatever it looks like.
    let raw = b"\x00\xff\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    wire.write(raw).await;
    assert_eq!(wire.bytes(raw.len()).await, raw);
    wire.write("last").await;
    wire.half_close().await;
    assert_eq!(wire.closed().await, b"last");
    assert_eq!(
        client.delivery(1).await.attempts[0].outcome.status(),
        Some(101)
    );
}

async fn a_websocket_ends_for_one_when_the_other_leaves(transport: Transport) {
    let mut world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\n\r\n";
    world.origin.always(Script::raw(switch).gone());
    let request = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{WEBSOCKET}\r\n");

    let mut leaves = world.sender.connect().await;
    leaves.write(&request).await;
    assert_eq!(leaves.head().await.status, 101);
    drop(leaves);
    world.origin.gone().await;

    let mut stays = world.sender.connect().await;
    stays.write(&request).await;
    assert_eq!(stays.head().await.status, 101);
    world.origin.kill();
    assert_eq!(stays.closed().await, b"");
}

#[tokio::test]
async fn a_refused_websocket_is_an_answer_as_any_other() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.next(Script::answer(403, "no sockets"));
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\n{WEBSOCKET}\r\n"
    ))
    .await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no sockets"));
    wire.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    assert_eq!(wire.answer().await.status, 200, "HTTP goes on");
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_not_passed_on() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    for upgrade in ["h2c", "TLS/1.0", "websocket, h2c"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
        );
        assert_eq!(world.sender.send(request).await.status, 200, "{upgrade}");
        let got = world.origin.request().await;
        assert_eq!(field(&got.fields, "Upgrade"), None, "{upgrade}");
    }
}
