//! A peer that lies: it speaks the protocol, and what it carries is not HTTP. Neither side trusts the
//! other with that: senders get no byte of a lying client that could be read as another answer, and
//! the app none of a lying relay that could be read as another request.

use bytes::Bytes;
use client::http::Trust;
use proxy::{FrameReader, FrameWriter};
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use tempfile::TempDir;
use testkit::{Client, Origin, Setup, World, soon};
use tunnel::{ClientKey, Control, Dialer, Listener, ListenerSecrets, Session, Target, Transport};
use wire::{
    Abort, Bind, Fields, Frame, Framing, Informational, Length, Message, Preface, RequestHead,
    RequestId, ResponseHead, Scheme, Side, Version,
};

testkit::over_both! {
    an_answer_that_is_not_http_is_502,
    a_body_that_is_not_as_long_as_it_says_is_cut,
    frames_out_of_place_are_our_fault_and_never_silence,
    a_client_that_breaks_the_protocol_is_closed_and_others_are_not,
}

async fn an_answer_that_is_not_http_is_502(transport: Transport) {
    let world = World::over(transport).await;
    let liar = Liar::attach(&world).await;
    let split = |name: &str, value: &str| head(200, "OK", &[(name, value)], Length::Empty);
    for (what, frame) in [
        (
            "a line end in a value",
            split("X", "1\r\nSet-Cookie: evil=1"),
        ),
        ("a bare LF in a value", split("X", "1\nSet-Cookie: evil=1")),
        (
            "a line end in a name",
            split("X: 1\r\nSet-Cookie", "evil=1"),
        ),
        ("an empty name", split("", "1")),
        ("a NUL in a value", split("X", "\0")),
        (
            "a line end in the reason",
            head(200, "OK\r\nX: 1", &[], Length::Empty),
        ),
        ("a status that is none", head(999, "OK", &[], Length::Empty)),
    ] {
        let (answer, ()) = tokio::join!(world.get("/"), liar.answer(vec![frame, Frame::End]));
        assert_eq!(
            (answer.status, answer.cause()),
            (502, Some("app-broken")),
            "{what}"
        );
        assert_eq!(answer.field("Set-Cookie"), None, "{what}");
    }
}

async fn a_body_that_is_not_as_long_as_it_says_is_cut(transport: Transport) {
    let world = World::over(transport).await;
    let liar = Liar::attach(&world).await;
    let ten = || head(200, "OK", &[], Length::Known(10));
    let data = |text: &'static str| Frame::Data(Bytes::from_static(text.as_bytes()));
    for (what, frames) in [
        ("ends early", vec![ten(), data("short"), Frame::End]),
        (
            "goes on",
            vec![ten(), data("0123456789HTTP/1.1 200 OK\r\n\r\n"), Frame::End],
        ),
        (
            "goes on in a second piece",
            vec![ten(), data("01234"), data("56789x"), Frame::End],
        ),
        (
            "a second head",
            vec![ten(), data("01234"), head(200, "OK", &[], Length::Empty)],
        ),
        ("an abort", vec![ten(), data("01234"), abort("app-broken")]),
        (
            "a body where none may be",
            vec![head(204, "", &[], Length::Empty), data("x"), Frame::End],
        ),
    ] {
        let mut wire = world.begin("/").await;
        liar.answer(frames).await;
        let came = String::from_utf8(wire.closed().await).expect("text");
        assert!(came.matches("HTTP/").count() <= 1, "{what}: {came}");
        let body = came.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < 10, "{what}: {came}");
    }
}

async fn frames_out_of_place_are_our_fault_and_never_silence(transport: Transport) {
    let world = World::over(transport).await;
    let liar = Liar::attach(&world).await;
    for (what, frames, status, cause) in [
        (
            "data before a head",
            vec![Frame::Data(Bytes::from_static(b"x"))],
            500,
            "internal",
        ),
        ("an end before a head", vec![Frame::End], 500, "internal"),
        ("nothing", vec![], 502, "tunnel-lost"),
        (
            "a cause that nobody knows",
            vec![abort("no-such-word\r\nX: 1")],
            500,
            "internal",
        ),
        (
            "a switch that nobody asked for",
            vec![interim(101)],
            502,
            "app-broken",
        ),
    ] {
        let (answer, ()) = tokio::join!(world.get("/"), liar.answer(frames));
        assert_eq!(
            (answer.status, answer.cause()),
            (status, Some(cause)),
            "{what}"
        );
    }
}

async fn a_client_that_breaks_the_protocol_is_closed_and_others_are_not(transport: Transport) {
    let world = World::over(transport).await;
    let honest = world.client().await;
    let mut liar = Liar::attach_as(&world, "other").await;
    liar.control
        .send(Message::Drain(wire::Drain { grace_ms: 0 }))
        .await
        .expect("the session stands");
    let ended = soon("the relay closes the session", liar.session.closed()).await;
    assert!(
        matches!(
            ended,
            tunnel::Ended::ByPeer(wire::close::Close::PROTOCOL, _)
        ),
        "{ended:?}"
    );
    assert_eq!(world.get("/").await.status, 200);
    drop(honest);
}

#[tokio::test]
async fn a_request_that_is_not_http_does_not_reach_the_app() {
    let origin = Origin::start();
    let (relay, _client) = LyingRelay::with_client(&origin).await;
    type Lie = fn(&mut Preface, &mut RequestHead);
    let lies: [(&str, Lie); 10] = [
        ("a line end in the target", |_, h| {
            h.target = "/ HTTP/1.1\r\nX: 1\r\n\r\n".into()
        }),
        ("a space in the target", |_, h| h.target = "/a b".into()),
        ("another host", |_, h| {
            h.target = "http://169.254.169.254/".into()
        }),
        ("an empty target", |_, h| h.target = Bytes::new()),
        ("a space in the method", |_, h| {
            h.method = "GET /x HTTP/1.1\r\n".into()
        }),
        ("an empty method", |_, h| h.method = Bytes::new()),
        ("a line end in a value", |_, h| {
            h.fields.push(("X".into(), "1\r\nY: 2".into()))
        }),
        ("a colon in a name", |_, h| {
            h.fields.push(("X: 1\r\nY".into(), "2".into()))
        }),
        ("a line end in the authority", |p, _| {
            p.authority = "a\r\nX: 1".into()
        }),
        ("a line end in the address", |p, _| {
            p.remote = "a\r\nX: 1".into()
        }),
    ];
    for (what, lie) in lies {
        let answer = relay.ask(lie).await;
        let Frame::Abort(abort) = &answer else {
            panic!("{what}: {answer:?}");
        };
        assert_eq!(abort.cause, "malformed", "{what}");
    }
    assert_eq!(origin.seen(), 0);
    let answer = relay.ask(|_, _| {}).await;
    assert!(
        matches!(&answer, Frame::Response(head) if head.status == 200),
        "{answer:?}"
    );
    assert_eq!(origin.seen(), 1);
}

#[tokio::test]
async fn framing_fields_of_a_relay_are_not_believed() {
    let origin = Origin::start();
    let (relay, _client) = LyingRelay::with_client(&origin).await;
    let answer = relay
        .ask(|_, head| {
            head.fields.push(("Content-Length".into(), "100".into()));
            head.fields
                .push(("Transfer-Encoding".into(), "chunked".into()));
        })
        .await;
    assert!(matches!(answer, Frame::Response(_)), "{answer:?}");
    let got = origin.request().await;
    assert_eq!(
        (got.field("Content-Length"), got.field("Transfer-Encoding")),
        (None, None)
    );
}

/// A relay of its own making, with one session of a real client.
struct LyingRelay {
    session: Session,
    _control: Control,
    _listener: Listener,
    _folder: TempDir,
}

impl LyingRelay {
    async fn with_client(origin: &Origin) -> (LyingRelay, Client) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec![String::from("127.0.0.1")];
        let certificate = rcgen::CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).expect("a file");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate and its key");
        tls.alpn_protocols = vec![wire::ALPN.to_vec()];
        let secrets = ListenerSecrets {
            reset: [1; 32],
            token: [2; 32],
            connection_id: 3,
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listener = Listener::bind(socket, Arc::new(tls), &secrets).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let attended = async {
            let incoming = listener.accept().await.expect("a client");
            let session = incoming.establish().await.expect("a session");
            let admission = tunnel::receive(&session).await.expect("a Hello");
            let mut control = admission.welcome(1, "liar").await.expect("a session");
            let Ok(Message::Bind(bind)) = control.recv().await else {
                panic!("no wish for a name");
            };
            let bound = wire::Bound {
                id: bind.id,
                name: bind.name,
                url: String::from("https://shop.localhost:1"),
            };
            let sent = control.send(Message::Bound(bound)).await;
            sent.expect("the session stands");
            (session, control)
        };
        let client = Client::start(Setup::default(), address, ca, origin.address());
        let ((session, control), client) = tokio::join!(attended, client);
        let relay = LyingRelay {
            session,
            _control: control,
            _listener: listener,
            _folder: folder,
        };
        (relay, client.expect("a session"))
    }

    /// Asks the client for something, after a lie was put into it; its first frame.
    async fn ask(&self, lie: impl Fn(&mut Preface, &mut RequestHead)) -> Frame {
        let mut preface = Preface {
            request: RequestId::new(1, 1),
            endpoint: String::from("shop"),
            remote: String::from("203.0.113.9:1"),
            scheme: Scheme::Https,
            authority: String::from("shop.localhost"),
            arrived_us: 1,
            version: Version::Http11,
        };
        let mut head = RequestHead {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/"),
            fields: vec![("Host".into(), "shop.localhost".into())],
            framing: Framing {
                length: Length::Empty,
                place: None,
            },
        };
        lie(&mut preface, &mut head);
        let stream = self.session.open().await.expect("the session stands");
        let mut writer = FrameWriter::new(stream.send);
        writer.put(&Frame::Preface(preface));
        writer.put(&Frame::Request(head));
        let sent = writer.send(&Frame::End).await;
        sent.expect("the client listens");
        let mut reader = FrameReader::new(stream.recv);
        let answer = soon("the client's answer", reader.next()).await;
        answer.expect("the client speaks the protocol")
    }
}

/// A client of its own making.
struct Liar {
    session: Session,
    control: Control,
}

impl Liar {
    async fn attach(world: &World) -> Liar {
        Liar::attach_as(world, "shop").await
    }

    async fn attach_as(world: &World, name: &str) -> Liar {
        let trust = Trust::only(world.relay.ca()).expect("the relay's CA");
        let dialer = Dialer::new(trust.tls().expect("TLS")).expect("QUIC");
        let target = Target {
            host: world.link.address().ip().to_string(),
            port: world.link.address().port(),
        };
        let session = dialer
            .dial(&target, world.transport)
            .await
            .expect("a session");
        let key = ClientKey::generate().expect("random bytes");
        let key = ClientKey::from_pkcs8(&key).expect("a key");
        let joined = tunnel::join(&session, &key, "", "liar").await;
        let (mut control, _) = joined.expect("a welcome");
        let name = name.to_owned();
        control
            .send(Message::Bind(Bind {
                id: 1,
                name,
                replaces: 0,
            }))
            .await
            .expect("the session stands");
        let bound = control.recv().await.expect("an answer");
        assert!(matches!(bound, Message::Bound(_)), "{bound:?}");
        Liar { session, control }
    }

    /// Takes the next request and answers it with these frames.
    async fn answer(&self, frames: Vec<Frame>) {
        let stream = soon("a request in the tunnel", self.session.accept()).await;
        let stream = stream.expect("the session stands");
        let mut reader = FrameReader::new(stream.recv);
        loop {
            let frame = soon("a request's frames", reader.next()).await;
            if frame.expect("the relay speaks the protocol") == Frame::End {
                break;
            }
        }
        let mut writer = FrameWriter::new(stream.send);
        for frame in &frames {
            writer.put(frame);
        }
        // The relay may have heard enough.
        let _ = writer.flush().await;
        writer.into_inner().finish();
    }
}

fn head(status: u16, reason: &'static str, fields: &[(&str, &str)], length: Length) -> Frame {
    let fields: Fields = fields
        .iter()
        .map(|(name, value)| {
            (
                Bytes::from(name.to_string()),
                Bytes::from(value.to_string()),
            )
        })
        .collect();
    Frame::Response(ResponseHead {
        status,
        reason: Bytes::from_static(reason.as_bytes()),
        fields,
        framing: Framing {
            length,
            place: None,
        },
    })
}

fn interim(status: u16) -> Frame {
    Frame::Informational(Informational {
        status,
        fields: Fields::new(),
    })
}

fn abort(cause: &str) -> Frame {
    Frame::Abort(Abort {
        side: Side::App,
        cause: cause.to_owned(),
        message: String::new(),
    })
}
