//! What two programs could read differently is refused: 400, the connection closed, and the app
//! gets nothing of it.

use testkit::{Script, World};

/// A second request that a smuggler hopes the app will see.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n";

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let h = format!("Host: {host}\r\n");
    let post = format!("POST / HTTP/1.1\r\n{h}");
    let te = "Transfer-Encoding: chunked\r\n";
    let shapes = [
        (
            "both lengths",
            format!("{post}{te}Content-Length: 5\r\n\r\n0\r\n\r\n"),
        ),
        (
            "both lengths, reversed",
            format!("{post}Content-Length: 5\r\n{te}\r\n0\r\n\r\n"),
        ),
        (
            "gzip, chunked",
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("two encodings", format!("{post}{te}{te}\r\n0\r\n\r\n")),
        (
            "an encoding that is not chunked",
            format!("{post}Transfer-Encoding: identity\r\n\r\n"),
        ),
        (
            "a comma before chunked",
            format!("{post}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a tab in chunked",
            format!("{post}Transfer-Encoding: chun\tked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a vertical tab",
            format!("{post}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked in HTTP/1.0",
            format!("POST / HTTP/1.0\r\n{h}{te}\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ),
        (
            "a repeated length",
            format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ),
        (
            "a list of lengths",
            format!("{post}Content-Length: 5, 5\r\n\r\nhello"),
        ),
        (
            "a length with a sign",
            format!("{post}Content-Length: +5\r\n\r\nhello"),
        ),
        (
            "a negative length",
            format!("{post}Content-Length: -5\r\n\r\nhello"),
        ),
        (
            "a hexadecimal length",
            format!("{post}Content-Length: 0x5\r\n\r\nhello"),
        ),
        (
            "an empty length",
            format!("{post}Content-Length:\r\n\r\nhello"),
        ),
        (
            "a huge length",
            format!("{post}Content-Length: 99999999999999999999\r\n\r\nhello"),
        ),
        ("bare LF", format!("GET / HTTP/1.1\nHost: {host}\n\n")),
        (
            "one bare LF",
            format!("GET / HTTP/1.1\r\n{h}X: 1\nY: 2\r\n\r\n"),
        ),
        (
            "a bare CR",
            format!("GET / HTTP/1.1\r\n{h}X: 1\rY: 2\r\n\r\n"),
        ),
        (
            "a folded field",
            format!("GET / HTTP/1.1\r\n{h}X: 1\r\n 2\r\n\r\n"),
        ),
        (
            "a fold before the first field",
            format!("GET / HTTP/1.1\r\n X: 1\r\n{h}\r\n"),
        ),
        (
            "a space before a colon",
            format!("{post}Content-Length : 5\r\n\r\nhello"),
        ),
        (
            "a tab before a colon",
            format!("GET / HTTP/1.1\r\n{h}X\t: 5\r\n\r\n"),
        ),
        (
            "a field without a name",
            format!("GET / HTTP/1.1\r\n{h}: 5\r\n\r\n"),
        ),
        (
            "a field without a colon",
            format!("GET / HTTP/1.1\r\n{h}X\r\n\r\n"),
        ),
        (
            "a NUL in a value",
            format!("GET / HTTP/1.1\r\n{h}X: a\0b\r\n\r\n"),
        ),
        (
            "a name that is no token",
            format!("GET / HTTP/1.1\r\n{h}X(y): 1\r\n\r\n"),
        ),
        ("no Host", String::from("GET / HTTP/1.1\r\nX: 1\r\n\r\n")),
        ("two Hosts", format!("GET / HTTP/1.1\r\n{h}{h}\r\n")),
        (
            "another Host behind",
            format!("GET / HTTP/1.1\r\n{h}host: other\r\n\r\n"),
        ),
        (
            "a Host with a user",
            String::from("GET / HTTP/1.1\r\nHost: a@shop.localhost\r\n\r\n"),
        ),
        (
            "a Host with a path",
            String::from("GET / HTTP/1.1\r\nHost: shop.localhost/x\r\n\r\n"),
        ),
        (
            "a Host with a bad port",
            String::from("GET / HTTP/1.1\r\nHost: shop.localhost:x\r\n\r\n"),
        ),
        (
            "another host in the target",
            format!("GET http://other/ HTTP/1.1\r\n{h}\r\n"),
        ),
        (
            "a user in the target",
            format!("GET http://a@{host}/ HTTP/1.1\r\n{h}\r\n"),
        ),
        ("CONNECT", format!("CONNECT {host} HTTP/1.1\r\n{h}\r\n")),
        ("* with GET", format!("GET * HTTP/1.1\r\n{h}\r\n")),
        (
            "a relative target",
            format!("GET index.html HTTP/1.1\r\n{h}\r\n"),
        ),
        ("a fragment", format!("GET /#x HTTP/1.1\r\n{h}\r\n")),
        (
            "a space in the target",
            format!("GET /a b HTTP/1.1\r\n{h}\r\n"),
        ),
        ("two spaces", format!("GET  / HTTP/1.1\r\n{h}\r\n")),
        (
            "a tab in the request line",
            format!("GET\t/ HTTP/1.1\r\n{h}\r\n"),
        ),
        ("no version", format!("GET /\r\n{h}\r\n")),
        ("a lower-case version", format!("GET / http/1.1\r\n{h}\r\n")),
        ("HTTP/2 in the clear", format!("GET / HTTP/2.0\r\n{h}\r\n")),
        (
            "a method that is no token",
            format!("G(T / HTTP/1.1\r\n{h}\r\n"),
        ),
        (
            "a byte above ASCII in the target",
            format!("GET /\u{e9} HTTP/1.1\r\n{h}\r\n"),
        ),
    ];
    for (what, shape) in shapes {
        let mut wire = world.sender.connect().await;
        wire.write(format!("{shape}{SMUGGLED}")).await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status, answer.cause()),
            (400, Some("malformed")),
            "{what}"
        );
        assert_eq!(wire.closed().await, b"", "{what}: one answer, then the end");
        assert_eq!(world.origin.seen(), 0, "{what}: the app saw a request");
    }
}

#[tokio::test]
async fn a_body_that_is_not_in_chunks_as_it_says_never_reaches_the_app_whole() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.always(Script::never());
    for (what, body) in [
        ("no number", "zz\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("an overflow", "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a chunk longer than it says", "3\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind the chunk", "5\r\nhello\n0\r\n\r\n"),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a bad trailer", "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n"),
    ] {
        let mut wire = world.sender.connect().await;
        wire.write(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
        ))
        .await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status, answer.cause()),
            (400, Some("malformed")),
            "{what}"
        );
        assert_eq!(wire.closed().await, b"", "{what}: one answer, then the end");
    }
    // Heads may have come, as bodies stream; whole requests have not, and no smuggled one.
    world.origin.always(Script::ok("honest"));
    assert_eq!(world.get("/honest").await.status, 200);
    loop {
        let got = world.origin.request().await;
        if got.line() == "GET /honest HTTP/1.1" {
            break;
        }
        assert_eq!((got.line(), got.whole), ("POST / HTTP/1.1", false));
    }
}

#[tokio::test]
async fn a_chunk_extension_is_not_passed_on() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let answer = world
        .sender
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;name=\"value\"\r\nhello\r\n0;last\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.origin.request().await.body, b"hello");
}

#[tokio::test]
async fn an_absolute_target_of_the_own_host_reaches_the_app_as_a_path() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    for (target, path) in [
        (format!("https://{host}/a?b"), "/a?b"),
        (format!("http://{host}"), "/"),
        (format!("https://{host}?q"), "/?q"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(world.sender.send(request).await.status, 200, "{target}");
        let got = world.origin.request().await;
        assert_eq!(got.line(), format!("GET {path} HTTP/1.1"));
        assert_eq!(got.field("Host"), Some(host.as_str()));
    }
}

#[tokio::test]
async fn options_for_the_whole_server_is_carried() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let request = format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(world.sender.send(request).await.status, 200);
    assert_eq!(world.origin.request().await.line(), "OPTIONS * HTTP/1.1");
}
