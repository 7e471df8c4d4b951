//! Which of the two transports carries a tunnel, how it moves to the other, and what only TCP can
//! do wrong.

use client::http::Trust;
use client::status::State;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use testkit::{Client, End, Gate, Origin, Script, Setup, World, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tunnel::{Control, Dialer, Ended, Listener, ListenerSecrets, Session, Target, Transport};
use wire::close::Close;
use wire::{Bind, Message};

testkit::over_both! {
    cancelled_downloads_leave_the_session_as_it_was,
    requests_given_up_in_a_stall_leave_the_session_as_it_was,
}

#[tokio::test]
async fn where_udp_is_blocked_the_tunnel_goes_over_tcp() {
    let world = World::over(Transport::Auto).await;
    world.link.let_udp_through(false);

    let alone = Setup {
        name: String::from("other"),
        ..Setup::over(Transport::Quic)
    };
    let (mut client, alone) = tokio::join!(world.client(), world.client_with(alone));

    assert!(alone.is_err(), "QUIC alone does not fall back");
    let status = client.status_when("online", is_online).await;
    assert_eq!(status.transport, Some("tcp"));
    assert_eq!(
        world.event("event=call.failed&CallSid=CA1").await.status,
        200
    );
}

#[tokio::test]
async fn where_both_work_the_tunnel_goes_over_quic() {
    let world = World::over(Transport::Auto).await;
    let mut client = world.client().await;
    let status = client.status_when("online", is_online).await;
    assert_eq!(status.transport, Some("quic"));
}

#[tokio::test]
async fn a_tunnel_moves_up_to_quic_and_what_runs_finishes_on_tcp() {
    let world = World::over(Transport::Auto).await;
    world.link.let_udp_through(false);
    let mut client = world.client().await;
    client.status_when("online", is_online).await;
    let url = client.url().to_owned();
    let gate = Gate::default();
    world.origin.next(
        Script::default()
            .request()
            .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
            .wait(&gate)
            .send("whole"),
    );
    let mut wire = world.begin("/").await;
    assert_eq!(wire.head().await.status, 200);

    world.link.let_udp_through(true);

    let up = client
        .status_when("the tunnel is over QUIC", |s| s.transport == Some("quic"))
        .await;
    assert_eq!((up.state, up.url), (State::Online, Some(url)));
    assert_eq!(up.reconnects, 0, "it was never away");
    assert_eq!(world.get("/").await.text(), "hello from the app\n");
    gate.open();
    assert_eq!(wire.bytes(10).await, b"half whole");
}

/// 32 KB a second: what lies in front of a ping takes longer than a peer may be silent.
#[tokio::test]
async fn bulk_on_a_slow_path_is_not_taken_for_a_dead_one() {
    const MUCH: u64 = 300 * 1024;
    let world = World::over(Transport::Tcp).await;
    world.link.slow(32 * 1024);
    let client = world.client().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
    world.origin.next(Script::raw(head).many(MUCH));
    let mut down = world.begin("/down").await;
    assert_eq!(down.head().await.status, 200);
    let mut up = world.sender.connect().await;
    let host = world.host();
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {MUCH}\r\n\r\n");
    up.write(head).await;
    up.write(vec![0; MUCH as usize]).await;
    down.bytes(MUCH as usize).await;
    assert_eq!(up.answer().await.status, 200);
    let got = world.origin.request().await;
    assert_eq!(got.line(), "GET /down HTTP/1.1");
    assert_eq!(world.origin.request().await.len, MUCH);
    assert_eq!(client.status.borrow().reconnects, 0);
}

/// More in all than a session's window: credit that is not given back would be missed.
async fn cancelled_downloads_leave_the_session_as_it_was(transport: Transport) {
    const MUCH: u64 = 2 * 1024 * 1024;
    let world = World::over(transport).await;
    let client = world.client().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
    world.origin.always(Script::raw(&head).many(MUCH));
    for _ in 0..5 {
        let mut stalled = Vec::new();
        for _ in 0..60 {
            let mut wire = world.begin("/").await;
            assert_eq!(wire.head().await.status, 200);
            stalled.push(wire);
        }
        // At once: what is on its way for them comes when they are forgotten.
        drop(stalled);
    }
    let answer = world.get("/").await;
    assert_eq!((answer.body.len() as u64, answer.end), (MUCH, End::Whole));
    assert_eq!(client.status.borrow().reconnects, 0);
}

async fn requests_given_up_in_a_stall_leave_the_session_as_it_was(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    assert_eq!(world.get("/").await.status, 200);
    world.link.hold();
    for _ in 0..100 {
        drop(world.begin("/").await);
    }
    // The relay answers this itself, and has seen the others leave by then.
    let nobody = "GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n";
    for _ in 0..10 {
        assert_eq!(world.sender.send(nobody).await.status, 404);
    }

    world.link.open();

    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(client.status.borrow().reconnects, 0);
}

#[tokio::test]
async fn a_client_that_speaks_no_http2_or_never_answers_leaves_the_relay_well() {
    let world = World::over(Transport::Tcp).await;
    let _honest = world.client().await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let no_streams = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
    let closed = async |what: &str, bytes: &[u8]| {
        let mut stream = world.sender.tls("shop.localhost", &["adit/1"]).await;
        stream.write_all(bytes).await.expect("the relay listens");
        let mut rest = Vec::new();
        // A reset will do as well.
        let _ = soon(what, stream.read_to_end(&mut rest)).await;
    };
    tokio::join!(
        closed("silence is closed", b""),
        closed("settings and silence are closed", &settings),
        closed("no place for control is closed", &no_streams),
        closed(
            "HTTP/1 is closed",
            b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"
        ),
        closed("garbage is closed", &[0xff; 4096]),
    );
    assert_eq!(world.get("/").await.status, 200);
    let other = Setup {
        name: String::from("other"),
        ..Setup::over(Transport::Tcp)
    };
    world.client_with(other).await.expect("a session");
}

#[tokio::test]
async fn a_tunnel_over_tls_1_2_is_closed_before_a_word() {
    let world = World::start().await;
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(world.relay.ca()).expect("the relay's CA");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![wire::ALPN.to_vec()];
    let stream = TcpStream::connect(world.relay.address())
        .await
        .expect("the relay accepts");
    let name = ServerName::try_from("shop.localhost").expect("a host");
    let mut stream = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .expect("senders may use TLS 1.2");
    let mut heard = Vec::new();
    let _ = soon("the relay closes", stream.read_to_end(&mut heard)).await;
    assert_eq!(heard, b"");
}

#[tokio::test]
async fn a_goodbye_arrives_also_when_every_place_is_taken() {
    let (relay, client) = pair().await;
    let mut open = fill(&relay).await;
    {
        let mut one_more = std::pin::pin!(relay.open());
        let waits = tokio::time::timeout(std::time::Duration::ZERO, &mut one_more).await;
        assert!(waits.is_err(), "there is no place for one more");
        open.pop();
        soon("there is one now", one_more).await.expect("a stream");
    }

    relay.close(Close::REPLACED, "shop, and \u{fc}: 100 % & more?");

    assert_eq!(
        soon("the goodbye", client.closed()).await,
        Ended::ByPeer(
            Close::REPLACED,
            String::from("shop, and \u{fc}: 100 % & more?")
        )
    );
    assert_eq!(relay.closed().await, Ended::Here);
}

#[tokio::test]
async fn a_session_that_ends_ends_those_who_wait_for_a_stream() {
    let (relay, client) = pair().await;
    let open = fill(&relay).await;
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let relay = relay.clone();
        waiting.spawn(async move { relay.open().await });
    }

    client.close(Close::DONE, "");

    while let Some(opened) = soon("they hear of it", waiting.join_next()).await {
        let ended = opened.expect("no panic").expect_err("no stream");
        assert_eq!(ended, Ended::ByPeer(Close::DONE, String::new()));
    }
    drop(open);
    assert!(relay.open().await.is_err());
}

#[tokio::test]
async fn a_session_closed_here_is_closed_at_once() {
    let (relay, client) = pair().await;
    relay.close(Close::REVOKED, "why");
    assert_eq!(relay.open().await.err(), Some(Ended::Here));
    assert_eq!(relay.closed().await, Ended::Here);
    // Also when the last handle is gone before the goodbye is.
    drop(relay);
    let ended = soon("the goodbye", client.closed()).await;
    assert_eq!(ended, Ended::ByPeer(Close::REVOKED, String::from("why")));
}

/// The relay may have led the name to the session that failed, and from there to nobody.
#[tokio::test]
async fn a_move_up_that_gets_no_answer_to_its_wish_begins_anew() {
    let (tls, ca, _folder) = identity();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let origin = Origin::start();
    let client = Client::start(Setup::over(Transport::Auto), address, ca, origin.address());
    let over_tcp = async {
        let (stream, peer) = listener.accept().await.expect("a client");
        let stream = TlsAcceptor::from(Arc::clone(&tls)).accept(stream).await;
        let session = Session::over_tcp(stream.expect("TLS"), peer).await;
        let session = session.expect("a session");
        let (mut control, bind) = welcomed(&session, 7).await;
        bound(&mut control, &bind).await;
        (session, control)
    };
    let (mut client, (old, _control)) = {
        let (client, old) = tokio::join!(client, over_tcp);
        (client.expect("a session"), old)
    };
    let socket = UdpSocket::bind(address).expect("the same port");
    let secrets = ListenerSecrets {
        reset: [1; 32],
        token: [2; 32],
        connection_id: 3,
    };
    let listener = Listener::bind(socket, Arc::clone(&tls), &secrets).expect("a listener");
    let comes = async || {
        let incoming = soon("a client over QUIC", listener.accept()).await;
        incoming
            .expect("a client")
            .establish()
            .await
            .expect("a session")
    };

    let silent = comes().await;
    let (_control, bind) = welcomed(&silent, 8).await;
    assert_eq!((bind.name.as_str(), bind.replaces), ("shop", 7));

    let fresh = comes().await;
    let (mut control, bind) = welcomed(&fresh, 9).await;
    assert_eq!((bind.name.as_str(), bind.replaces), ("shop", 0));
    bound(&mut control, &bind).await;
    client
        .status_when("online over QUIC", |s| {
            is_online(s) && s.transport == Some("quic")
        })
        .await;
    // The first was left in order.
    let ended = soon("the first is left", old.closed()).await;
    assert_eq!(ended, Ended::ByPeer(Close::DONE, String::new()));
}

/// Lets a client in as session `id`; its wish for a name.
async fn welcomed(session: &Session, id: u64) -> (Control, Bind) {
    let admission = tunnel::receive(session).await.expect("a Hello");
    let mut control = admission.welcome(id, "test").await.expect("a session");
    match soon("a wish for a name", control.recv()).await {
        Ok(Message::Bind(bind)) => (control, bind),
        other => panic!("no wish for a name: {other:?}"),
    }
}

async fn bound(control: &mut Control, bind: &Bind) {
    let bound = Message::Bound(wire::Bound {
        id: bind.id,
        name: bind.name.clone(),
        url: String::from("https://shop.localhost:1"),
    });
    control.send(bound).await.expect("the session stands");
}

/// Opens as many streams as a session has.
async fn fill(relay: &Session) -> Vec<tunnel::Stream> {
    let mut open = Vec::new();
    for _ in 0..tunnel::windows::STREAMS {
        open.push(soon("a stream", relay.open()).await.expect("a stream"));
    }
    open
}

/// The relay's end and the client's end of a session over TCP, before any Hello.
async fn pair() -> (Session, Session) {
    let (tls, ca, _folder) = identity();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let trust = Trust::only(&ca).expect("the CA");
    let dialer = Dialer::new(trust.tls().expect("TLS")).expect("a dialer");
    let target = Target {
        host: address.ip().to_string(),
        port: address.port(),
    };
    let accepted = async {
        let (stream, peer) = listener.accept().await.expect("a client");
        let stream = TlsAcceptor::from(tls).accept(stream).await;
        Session::over_tcp(stream.expect("TLS"), peer).await
    };
    let (relay, client) = tokio::join!(accepted, dialer.dial(&target, Transport::Tcp));
    (relay.expect("a session"), client.expect("a session"))
}

/// What a relay of our own making shows, and the file that a client trusts.
fn identity() -> (Arc<rustls::ServerConfig>, PathBuf, TempDir) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec![String::from("127.0.0.1")])
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
    (Arc::new(tls), ca, folder)
}

fn is_online(status: &client::status::Status) -> bool {
    status.state == State::Online
}
