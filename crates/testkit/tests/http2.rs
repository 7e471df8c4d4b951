//! HTTP/2 from the sender: what becomes of it on the way to an HTTP/1.1 app and back.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::channel::{Channel, Sender as BodySender};
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::time::Duration;
use testkit::{Gate, Origin, RelaySetup, Script, World, field, soon};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tunnel::Transport;

testkit::over_both! {
    a_request_with_trailers_reaches_the_app_and_its_answer_comes_back,
    a_reset_stream_cancels_the_request_at_the_app_and_no_other,
    a_cut_answer_is_a_reset_stream,
    an_upload_that_the_app_does_not_read_stops_no_other_of_its_connection,
}

type Body = Channel<Bytes, Infallible>;

async fn a_request_with_trailers_reaches_the_app_and_its_answer_comes_back(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let host = world.host();
    let mut wire = connect(&world).await;
    world.origin.next(Script::raw(
        "HTTP/1.1 201 Created\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         Adit-Cause: mine\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
    ));
    let request = Request::post(format!("https://{host}/path?q=1"))
        .header("x-one", "1")
        .header("x-one", "2")
        .header("te", "trailers");
    let (mut body, answer) = wire.send(request);
    body.send_data(Bytes::from("some "))
        .await
        .expect("it is taken");
    body.send_data(Bytes::from("bytes"))
        .await
        .expect("it is taken");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-up", HeaderValue::from_static("9"));
    body.send_trailers(trailers).await.expect("they are taken");
    drop(body);
    let answer = answer.await;

    let got = world.origin.request().await;
    assert_eq!(got.line(), "POST /path?q=1 HTTP/1.1");
    assert_eq!(got.field("Host"), Some(host.as_str()));
    let ones: Vec<_> = got
        .fields
        .iter()
        .filter(|(n, _)| n == "x-one")
        .map(|(_, v)| v)
        .collect();
    assert_eq!(ones, ["1", "2"]);
    assert_eq!(got.body, b"some bytes");
    assert_eq!(field(&got.trailers, "x-up"), Some("9"));
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.status(), 201);
    let twos: Vec<_> = answer.headers().get_all("x-two").iter().collect();
    assert_eq!(twos, ["1", "2"]);
    for gone in ["connection", "x-hop", "adit-cause", "transfer-encoding"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    let whole = collect(answer).await;
    assert_eq!(
        whole.trailers().and_then(|t| t.get("x-sum")),
        Some(&HeaderValue::from_static("7"))
    );
    assert_eq!(whole.to_bytes(), "hello");
    let delivery = client.delivery(1).await;
    let (request, _) = client.exact(&delivery, 1).await;
    assert_eq!(request.version, "HTTP/2");
    assert_eq!(request.url(), format!("https://{host}/path?q=1"));
}

#[tokio::test]
async fn a_known_length_stays_a_length() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = connect(&world).await;
    let request = Request::post(format!("https://{host}/")).header("content-length", "5");
    let (mut body, answer) = wire.send(request);
    body.send_data(Bytes::from("hello"))
        .await
        .expect("it is taken");
    drop(body);
    let answer = answer.await;
    assert_eq!(answer.headers()["content-length"], "19");
    assert_eq!(collect(answer).await.to_bytes(), "hello from the app\n");
    let got = world.origin.request().await;
    assert_eq!(got.field("Content-Length"), Some("5"));
    assert_eq!(got.field("Transfer-Encoding"), None);
}

#[tokio::test]
async fn cookie_crumbs_are_one_field_for_the_app() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = connect(&world).await;
    let request = Request::get(format!("https://{host}/"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3");
    assert_eq!(wire.get(request).await.status(), 200);
    let got = world.origin.request().await;
    let cookies: Vec<_> = got
        .fields
        .iter()
        .filter(|(n, _)| n == "cookie")
        .map(|(_, v)| v)
        .collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn our_own_answers_say_why() {
    let world = World::with(RelaySetup::Open, Origin::absent()).await;
    let client = world.client().await;
    let (host, port) = (world.host(), world.relay.address().port());
    let mut wire = connect(&world).await;
    let asked = |host: &str| Request::get(format!("https://{host}/"));
    let why = |answer: Response<Incoming>| {
        (
            answer.status().as_u16(),
            answer.headers()["adit-cause"].clone(),
        )
    };
    let refused = wire.get(asked(&host)).await;
    assert_eq!(why(refused), (502, HeaderValue::from_static("app-refused")));
    let unknown = wire.get(asked(&format!("nobody.localhost:{port}"))).await;
    assert_eq!(
        why(unknown),
        (404, HeaderValue::from_static("unknown-name"))
    );
    let two_hosts = wire
        .get(asked(&host).header("host", "other.localhost"))
        .await;
    assert_eq!(why(two_hosts), (400, HeaderValue::from_static("malformed")));
    client.stop().await;
    world.away().await;
    let away = wire.get(asked(&host)).await;
    assert!(away.headers().contains_key("retry-after"));
    assert_eq!(why(away), (503, HeaderValue::from_static("client-away")));
}

async fn a_reset_stream_cancels_the_request_at_the_app_and_no_other(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let gate = Gate::default();
    let mut wire = connect(&world).await;
    world.origin.next(Script::never());
    let (_, given_up) = wire.send(Request::get(format!("https://{host}/given-up")));
    let given_up = tokio::spawn(given_up);
    let first = world.origin.head().await;
    world.origin.next(
        Script::default()
            .request()
            .wait(&gate)
            .send("HTTP/1.1 204 X\r\n\r\n"),
    );
    let (_, waited_for) = wire.send(Request::get(format!("https://{host}/waited-for")));
    let waited_for = tokio::spawn(waited_for);
    world.origin.head().await;

    given_up.abort();

    assert_eq!(world.origin.gone().await, first.connection);
    gate.open();
    assert_eq!(waited_for.await.expect("it goes on").status(), 204);
}

async fn a_cut_answer_is_a_reset_stream(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = connect(&world).await;
    for script in [
        Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").close(),
        Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").close(),
    ] {
        world.origin.next(script);
        let answer = wire.get(Request::get(format!("https://{host}/"))).await;
        assert_eq!(answer.status(), 200);
        let cut = soon("the end of an answer", answer.into_body().collect()).await;
        assert!(cut.is_err(), "a cut answer is not taken for a whole one");
    }
    // The connection goes on.
    assert_eq!(
        wire.get(Request::get(format!("https://{host}/")))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn head_and_204_have_no_body() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    let mut wire = connect(&world).await;
    world.origin.next(Script::raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    ));
    let head = wire.get(Request::head(format!("https://{host}/"))).await;
    assert_eq!(head.headers()["content-length"], "1000");
    assert_eq!(collect(head).await.to_bytes(), "");
    world
        .origin
        .next(Script::raw("HTTP/1.1 204 No Content\r\n\r\n"));
    let none = wire.get(Request::get(format!("https://{host}/"))).await;
    assert_eq!(none.status(), 204);
    assert_eq!(collect(none).await.to_bytes(), "");
}

async fn an_upload_that_the_app_does_not_read_stops_no_other_of_its_connection(
    transport: Transport,
) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let gate = Gate::default();
    let mut wire = connect(&world).await;
    world.origin.next(Script::default().wait(&gate));
    let (mut body, _answer) = wire.send(Request::post(format!("https://{host}/stalled")));
    world.origin.head().await;
    let piece = Bytes::from(vec![0; 64 * 1024]);
    let quiet = Duration::from_secs(1);
    let mut taken = 0;
    while let Ok(Ok(())) = timeout(quiet, body.send_data(piece.clone())).await {
        taken += piece.len();
        assert!(taken < 64 << 20, "somebody takes it all in");
    }
    for _ in 0..10 {
        let answer = wire.get(Request::get(format!("https://{host}/"))).await;
        assert_eq!(answer.status(), 200);
    }
}

/// Waits for the relay's own limit, 10 s.
#[tokio::test]
async fn more_requests_at_once_than_an_address_may_hold_are_429_with_retry_after() {
    let world = World::start().await;
    let _client = world.client().await;
    let host = world.host();
    world.origin.always(Script::never());
    let mut wire = connect(&world).await;
    let mut waiting = JoinSet::new();
    for _ in 0..relay::limits::EXCHANGES_PER_ADDRESS {
        let (_, answer) = wire.send(Request::get(format!("https://{host}/")));
        waiting.spawn(answer);
    }
    for _ in 0..relay::limits::EXCHANGES_PER_ADDRESS {
        world.origin.head().await;
    }
    let answer = world.get("/").await;
    assert_eq!((answer.status, answer.cause()), (429, Some("rate-limit")));
    assert!(answer.field("Retry-After").is_some());
}

/// One HTTP/2 connection.
struct Wire {
    sender: SendRequest<Body>,
    _connection: JoinSet<()>,
}

impl Wire {
    /// Begins a request, and gives its body's sender and what waits for the answer.
    fn send(
        &mut self,
        request: http::request::Builder,
    ) -> (
        BodySender<Bytes, Infallible>,
        impl Future<Output = Response<Incoming>> + Send + use<>,
    ) {
        let (body, channel) = Channel::new(4);
        let answer = self
            .sender
            .send_request(request.body(channel).expect("a request"));
        let answer = async move { soon("an HTTP/2 answer", answer).await.expect("an answer") };
        (body, answer)
    }

    /// Sends a request without a body.
    async fn get(&mut self, request: http::request::Builder) -> Response<Incoming> {
        let (body, answer) = self.send(request);
        drop(body);
        answer.await
    }
}

async fn connect(world: &World) -> Wire {
    let stream = world.sender.tls("shop.localhost", &["h2"]).await;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    Wire {
        sender,
        _connection: tasks,
    }
}

async fn collect(answer: Response<Incoming>) -> Collected<Bytes> {
    soon("the end of an answer", answer.into_body().collect())
        .await
        .expect("a whole answer")
}
