//! The real program with an empty home: what it prints, what it keeps, and how it ends.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use testkit::{Client, Ended, Gate, Origin, Program, Script, Sender, Setup, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RELAY: &str = env!("CARGO_BIN_EXE_relay");

#[tokio::test]
async fn ready_is_one_json_line_with_where_it_listens() {
    let house = House::new();
    let mut relay = house.serve(&["--domain", "tunnel.example.dev", "--admin", "127.0.0.1:0"]);
    let ready = json(&relay.line().await);
    assert_eq!(ready["type"], "ready");
    assert_eq!(ready["domain"], "tunnel.example.dev");
    assert_eq!(ready["tcp"], ready["udp"]);
    assert_ne!(address(&ready["tcp"]).port(), 0);
    assert_ne!(address(&ready["admin"]).port(), 0);
    let ca = ready["ca"].as_str().expect("a private CA");
    let pem = std::fs::read_to_string(ca).expect("it is there");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(Path::new(ca), house.state().join("ca.pem"));

    relay.signal("TERM");
    let ended = relay.end().await;
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), ""),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_client_comes_in_by_a_token_made_beside_the_running_relay() {
    let house = House::new();
    let mut relay = house.serve(&["--admin", "off"]);
    let ready = json(&relay.line().await);
    assert_eq!(ready["admin"], Value::Null);
    let token = house.add("laptop", &[]).await;

    let origin = Origin::start();
    let client = client(&ready, &token, &origin).await;
    let answer = get(&ready, &client).await;
    assert_eq!(answer.text(), "hello from the app\n");
}

#[tokio::test]
async fn sigterm_lets_the_request_under_way_finish_and_exits_0() {
    let house = House::new();
    let mut relay = house.serve(&["--open", "--admin", "127.0.0.1:0"]);
    let ready = json(&relay.line().await);
    let origin = Origin::start();
    let mut client = client(&ready, "", &origin).await;
    let gate = Gate::default();
    origin.next(
        Script::default()
            .request()
            .wait(&gate)
            .send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfinished"),
    );
    let mut wire = sender(&ready).connect().await;
    let host = client.authority().to_owned();
    wire.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    origin.head().await;
    assert_eq!(
        probe(&ready, "/readyz").await,
        (200, String::from("ready\n"))
    );

    relay.signal("TERM");

    client
        .status_when("the relay's wish is heard", |s| {
            s.state.as_str() != "online"
        })
        .await;
    assert_eq!(
        probe(&ready, "/readyz").await,
        (503, String::from("draining\n"))
    );
    assert_eq!(
        probe(&ready, "/healthz").await,
        (200, String::from("alive\n"))
    );
    gate.open();
    assert_eq!(wire.answer().await.text(), "finished");
    assert_eq!(relay.end().await.code, Some(0));
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let house = House::new();
    let mut relay = house.serve(&["--open", "--admin", "off"]);
    let ready = json(&relay.line().await);
    let origin = Origin::start();
    let mut client = client(&ready, "", &origin).await;
    origin.next(Script::never());
    let mut wire = sender(&ready).connect().await;
    let host = client.authority().to_owned();
    wire.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    origin.head().await;
    relay.signal("INT");
    client
        .status_when("the relay drains", |s| s.state.as_str() != "online")
        .await;
    relay.signal("INT");
    assert_eq!(relay.end().await.code, Some(0));
}

#[tokio::test]
async fn the_admin_listener_answers_probes_and_nothing_else() {
    let house = House::new();
    let mut relay = house.serve(&["--open", "--admin", "127.0.0.1:0"]);
    let ready = json(&relay.line().await);
    assert_eq!(
        probe(&ready, "/healthz").await,
        (200, String::from("alive\n"))
    );
    assert_eq!(
        probe(&ready, "/readyz").await,
        (200, String::from("ready\n"))
    );
    assert_eq!(probe(&ready, "/nothing").await.0, 404);
    let admin = address(&ready["admin"]);
    assert_eq!(
        exchange(admin, "POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .0,
        405
    );
    assert_eq!(exchange(admin, "nonsense\r\n\r\n").await.0, 400);
    assert_eq!(
        exchange(admin, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await,
        (200, String::new())
    );
}

#[tokio::test]
async fn tokens_are_printed_once_listed_without_and_revoked() {
    let house = House::new();
    let added = house
        .run(&[
            "token",
            "add",
            "alice",
            "--name",
            "alice-*",
            "--expires",
            "30d",
            "--json",
        ])
        .await;
    is(&added, 0);
    let added = json(&added.out);
    assert_eq!(added["name"], "alice");
    let token = added["token"].as_str().expect("the token").to_owned();
    assert!(token.starts_with("adit_"), "{token}");

    let listed = house.run(&["token", "list", "--json"]).await;
    is(&listed, 0);
    assert!(
        listed.out.contains("alice") && !listed.out.contains(&token),
        "{}",
        listed.out
    );
    let plain = house.run(&["token", "list"]).await;
    assert!(
        plain.out.contains("alice-*") && plain.out.contains("good"),
        "{}",
        plain.out
    );
    assert!(!plain.out.contains(&token));

    fails(&house.run(&["token", "add", "alice"]).await, 1);
    fails(&house.run(&["token", "revoke", "bob"]).await, 1);
    let revoked = house.run(&["token", "revoke", "alice", "--json"]).await;
    is(&revoked, 0);
    assert_eq!(json(&revoked.out)["name"], "alice");
    let plain = house.run(&["token", "list"]).await;
    assert!(plain.out.contains("revoked"), "{}", plain.out);
    fails(&house.run(&["token", "revoke", "alice"]).await, 1);
}

#[tokio::test]
async fn only_the_hash_of_a_token_is_kept_and_only_for_its_owner_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let mut relay = house.serve(&["--admin", "off"]);
    let ready = json(&relay.line().await);
    let token = house.add("laptop", &[]).await;
    let origin = Origin::start();
    let _client = client(&ready, &token, &origin).await;
    let secret = token.rsplit('_').next().expect("a secret part").as_bytes();
    let mut files = 0;
    for entry in std::fs::read_dir(house.state()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        let found = bytes.windows(secret.len()).any(|w| w == secret);
        assert!(!found, "{} holds the token", path.display());
        if path.file_name() != Some("ca.pem".as_ref()) {
            let mode = std::fs::metadata(&path)
                .expect("a file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        }
        files += 1;
    }
    assert!(files >= 2);
    let mode = std::fs::metadata(house.state())
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_1_and_says_how_to_see_who_holds_it() {
    let holder = Origin::start();
    let taken = holder.address().to_string();
    let house = House::new();
    let state = house.state().display().to_string();
    for flags in [
        &["--listen", taken.as_str(), "--admin", "off"][..],
        &["--listen", "127.0.0.1:0", "--admin", taken.as_str()],
    ] {
        let ended = house
            .run(&[&["serve", "--state", &state, "--open", "--json"], flags].concat())
            .await;
        fails(&ended, 1);
        assert!(
            ended.err.contains(&taken) && ended.err.contains("ss -"),
            "{}",
            ended.err
        );
        assert_eq!(ended.out, "", "it never was ready");
    }
}

#[tokio::test]
async fn an_open_relay_is_refused_where_others_reach_it() {
    let house = House::new();
    let state = house.state().display().to_string();
    for listen in [&["0.0.0.0:0"][..], &["127.0.0.1:0", "--listen", "[::]:0"]] {
        let mut arguments = vec![
            "serve", "--state", &state, "--open", "--admin", "off", "--listen",
        ];
        arguments.extend(listen);
        let ended = house.run(&arguments).await;
        fails(&ended, 3);
        assert!(ended.err.contains("open"), "{}", ended.err);
    }
}

#[tokio::test]
async fn a_configuration_of_no_use_is_3() {
    let house = House::new();
    let file = house.home.path().join("relay.toml");
    let shown = file.display().to_string();
    std::fs::write(&file, "admin = \"off\"\nlistn = [\"127.0.0.1:0\"]\n").expect("a file");
    let ended = house.run(&["serve", "--config", &shown]).await;
    fails(&ended, 3);
    assert!(ended.err.contains("relay.toml:2"), "{}", ended.err);
    assert!(ended.err.contains("did you mean listen?"), "{}", ended.err);

    std::fs::write(&file, "").expect("a file");
    let in_a_file = format!("{shown}/state");
    let listen = ["--listen", "127.0.0.1:0", "--admin", "off"];
    for flags in [
        &["--state", in_a_file.as_str()][..],
        &["--tls", "files"],
        &["--cert", "/no/such.pem", "--key", "/no/such.pem"],
        &["--domain", "not a domain"],
    ] {
        let ended = house.run(&[&["serve"], &listen[..], flags].concat()).await;
        assert_eq!(ended.code, Some(3), "{flags:?}: {}", ended.err);
        assert!(ended.err.contains("error: "), "{}", ended.err);
    }
    let usage = house.run(&["serve", "--listen", "nowhere"]).await;
    assert_eq!(usage.code, Some(2), "{}", usage.err);
}

#[tokio::test]
async fn the_config_file_says_what_flags_do_not() {
    let house = House::new();
    let file = house.home.path().join("relay.toml");
    let state = house.state();
    std::fs::write(
        &file,
        format!(
            "domain = \"a.example\"\nlisten = [\"127.0.0.1:0\"]\nadmin = \"off\"\nopen = true\nstate = {state:?}\n"
        ),
    )
    .expect("a file");
    let shown = file.display().to_string();
    let arguments = [
        "serve",
        "--config",
        &shown,
        "--domain",
        "b.example",
        "--json",
    ];
    let mut relay = Program::start(RELAY, house.home.path(), &arguments, &[]);
    let ready = json(&relay.line().await);
    assert_eq!(
        (&ready["domain"], &ready["admin"]),
        (&"b.example".into(), &Value::Null)
    );
    assert!(state.join("ca.pem").exists());
}

#[tokio::test]
async fn the_private_ca_is_made_once() {
    let house = House::new();
    let mut before = None;
    for _ in 0..2 {
        let mut relay = house.serve(&["--open", "--admin", "off"]);
        relay.line().await;
        let ca = std::fs::read(house.state().join("ca.pem")).expect("the CA");
        assert_eq!(*before.get_or_insert(ca.clone()), ca);
        relay.signal("TERM");
        assert_eq!(relay.end().await.code, Some(0));
    }
}

/// A home that begins empty.
struct House {
    home: TempDir,
}

impl House {
    fn new() -> House {
        House {
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    fn state(&self) -> std::path::PathBuf {
        self.home.path().join("state")
    }

    /// `relay serve` on a free port, with NDJSON.
    fn serve(&self, flags: &[&str]) -> Program {
        let state = self.state().display().to_string();
        let base = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--state",
            &state,
            "--json",
        ];
        Program::start(RELAY, self.home.path(), &[&base[..], flags].concat(), &[])
    }

    /// A command on the state folder, which the environment names.
    async fn run(&self, arguments: &[&str]) -> Ended {
        let state = self.state().display().to_string();
        Program::run(
            RELAY,
            self.home.path(),
            arguments,
            &[("ADIT_RELAY_STATE", &state)],
        )
        .await
    }

    async fn add(&self, label: &str, flags: &[&str]) -> String {
        let added = self
            .run(&[&["token", "add", label, "--json"], flags].concat())
            .await;
        is(&added, 0);
        json(&added.out)["token"]
            .as_str()
            .expect("the token")
            .to_owned()
    }
}

async fn client(ready: &Value, token: &str, origin: &Origin) -> Client {
    let setup = Setup {
        token: token.to_owned(),
        ..Setup::default()
    };
    let ca = ready["ca"].as_str().expect("a private CA").into();
    Client::start(setup, address(&ready["udp"]), ca, origin.address())
        .await
        .expect("a session")
}

fn sender(ready: &Value) -> Sender {
    let ca = ready["ca"].as_str().expect("a private CA");
    Sender::new(address(&ready["tcp"]), Path::new(ca))
}

async fn get(ready: &Value, client: &Client) -> testkit::Answer {
    let host = client.authority();
    sender(ready)
        .send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await
}

/// Status and body of a path of the admin listener.
async fn probe(ready: &Value, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    exchange(address(&ready["admin"]), &request).await
}

async fn exchange(admin: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).await.expect("the admin listener");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it takes a request");
    let mut answer = String::new();
    soon("the end of an answer", stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .get(9..12)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

fn address(value: &Value) -> SocketAddr {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("an address")
}

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[track_caller]
fn is(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}", ended.err);
}

/// It failed with this code, and said what happened and what next, on stderr.
#[track_caller]
fn fails(ended: &Ended, code: i32) {
    is(ended, code);
    assert!(
        ended.err.contains("error: ") && ended.err.contains("\nhint: "),
        "{}",
        ended.err
    );
}
