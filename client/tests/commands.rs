//! The real program with an empty home: its lines, its exit codes, and what it keeps.

use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;
use testkit::{Ended, Gate, Origin, Program, RelaySetup, Script, Setup, World, cloudvno};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// CloudVNO's secret, in the environment of every command here.
const SECRET: (&str, &str) = ("ADIT_SECRET_CLOUDVNO", Setup::SECRET);

const EVENT: &str = "event=message.delivered&MessageSid=SM01&To=%2B14155550100";

#[tokio::test]
async fn json_lines_have_the_fields_of_the_contract() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);

    let tunnel = json(&client.line().await);
    assert_eq!(tunnel["type"], "tunnel");
    assert_eq!(tunnel["name"], "shop");
    assert_eq!(tunnel["url"], format!("https://{}", world.host()));
    assert_eq!(
        tunnel["origin"],
        format!("http://{}", world.origin.address())
    );
    assert!(text(&tunnel["inspector"]).starts_with("http://127.0.0.1:"));
    assert_eq!(tunnel["transport"], "quic");

    let status = json(&client.line().await);
    assert_eq!(
        (&status["type"], &status["state"]),
        (&"status".into(), &"online".into())
    );
    assert_eq!(status["transport"], "quic");
    assert!(status["rtt_ms"].is_number());
    assert_eq!(status["reason"], Value::Null);

    assert_eq!(world.event(EVENT).await.status, 200);
    let request = json(&client.line().await);
    assert_eq!(request["type"], "request");
    for (field, value) in [
        ("method", "POST"),
        ("path", "/webhook"),
        ("provider", "cloudvno"),
        ("event", "message.delivered"),
    ] {
        assert_eq!(request[field], value, "{request}");
    }
    assert_eq!(request["bytes"], EVENT.len());
    assert!(text(&request["remote"]).starts_with("127.0.0.1:"));
    let at = text(&request["at"]);
    assert!(
        at.len() >= 20 && at.ends_with('Z') && &at[10..11] == "T",
        "{at}"
    );
    assert_eq!(request["delivery"], request["id"]);

    let response = json(&client.line().await);
    assert_eq!(response["type"], "response");
    assert_eq!(response["id"], request["id"]);
    assert_eq!(response["delivery"], request["id"]);
    assert_eq!(
        (&response["attempt"], &response["status"]),
        (&1.into(), &200.into())
    );
    assert_eq!(
        (&response["trigger"], &response["signature"]),
        (&"live".into(), &"valid".into())
    );
    assert!(response["ms"].is_number());
    assert_eq!(response["bytes"], "hello from the app\n".len());
    assert_eq!(
        (&response["why"], &response["cause"]),
        (&Value::Null, &Value::Null)
    );

    // The same event again, tampered with, and with the app away.
    assert_eq!(world.event(EVENT).await.status, 200);
    let retry = json(&client.line_with("response").await);
    assert_eq!(
        (&retry["trigger"], &retry["attempt"]),
        (&"retry".into(), &2.into())
    );
    assert_eq!(retry["delivery"], request["id"]);
    let url = format!("https://{}/webhook", world.host());
    let tampered = cloudvno(&url, EVENT, Setup::SECRET).replace("SM01", "SM02");
    assert_eq!(world.sender.send(tampered).await.status, 200);
    let invalid = json(&client.line_with("response").await);
    assert_eq!(invalid["signature"], "invalid");
    assert!(!text(&invalid["why"]).is_empty());
    world.origin.next(Script::raw("garbage\r\n\r\n").close());
    assert_eq!(world.get("/x").await.status, 502);
    let broken = json(&client.line_with("response").await);
    assert_eq!(
        (&broken["cause"], &broken["status"]),
        (&"app-broken".into(), &502.into())
    );
    assert_eq!(broken["signature"], "none");
}

#[tokio::test]
async fn plain_lines_are_for_people() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let (app, relay, ca) = (
        world.origin.address().to_string(),
        relay(&world),
        ca(&world),
    );
    let base = ["http", &app, "--relay", &relay, "--relay-ca", &ca];
    let flags = ["--name", "shop", "--inspect", "127.0.0.1:0", "--plain"];
    let mut client = laptop.start(&[&base[..], &flags].concat());
    let up = client.line_with(" -> ").await;
    assert!(
        up.contains(&format!("https://{} -> http://{app}", world.host())),
        "{up}"
    );
    client.line_with("online over quic").await;

    assert_eq!(world.event(EVENT).await.status, 200);
    let request = client.line_with("POST /webhook").await;
    assert!(request.contains("cloudvno message.delivered"), "{request}");
    assert!(request.ends_with("signature valid"), "{request}");
    let response = client.line().await;
    assert!(response.contains("  200 in "), "{response}");
}

#[tokio::test]
async fn with_the_store_off_nothing_is_kept_on_the_disk() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[("ADIT_STORE", "off")]);
    client.line_with("online").await;
    assert_eq!(world.event(EVENT).await.status, 200);
    client.line_with("response").await;
    client.signal("TERM");
    assert_eq!(client.end().await.code, Some(0));
    let file = laptop
        .home
        .path()
        .join("data/adit")
        .join(capture::FILE_NAME);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_list_that_follows_goes_on_with_what_comes() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    let mut list = laptop.start(&["list", "--follow", "--json"]);
    assert_eq!(world.event(EVENT).await.status, 200);
    let first = json(&list.line_with("\"status\":200").await);
    assert_eq!(first["event"], "message.delivered");
    let other = EVENT.replace("SM01", "SM02");
    world.origin.next(Script::answer(500, "broken"));
    assert_eq!(world.event(&other).await.status, 500);
    let second = json(&list.line_with("\"status\":500").await);
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test]
async fn a_lost_tunnel_is_said_in_a_line() {
    let mut world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;

    world
        .relay
        .shut_down(std::time::Duration::from_secs(1))
        .await;
    let lost = json(&client.line_with("reconnecting").await);
    assert_eq!(lost["type"], "status");
    assert!(!text(&lost["reason"]).is_empty());

    world.relay.start_again().await;
    let back = json(&client.line_with("online").await);
    assert_eq!(back["reason"], Value::Null);
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn sigterm_ends_in_order_and_leaves_no_trace_of_running() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    assert_eq!(laptop.running().len(), 1);

    client.signal("TERM");

    assert_eq!(client.end().await.code, Some(0));
    assert!(laptop.running().is_empty());
    world.away().await;
}

#[tokio::test]
async fn an_interrupt_is_130() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    client.signal("INT");
    assert_eq!(client.end().await.code, Some(130));
    assert!(laptop.running().is_empty());
}

#[tokio::test]
async fn without_a_relay_one_runs_inside_and_the_url_works_here() {
    let origin = Origin::start();
    let laptop = Laptop::new();
    let app = origin.address().to_string();
    let mut client = laptop.start(&[
        "http",
        &app,
        "--embedded-listen",
        "127.0.0.1:0",
        "--inspect",
        "127.0.0.1:0",
        "--json",
    ]);
    let url = text(&tunnel(&mut client).await["url"]);
    assert!(url.contains(".localhost:"), "{url}");

    let to = format!("{url}/webhook");
    let sent = laptop
        .run(&["send", "cloudvno", "delivered", "--to", &to, "--json"])
        .await;
    is(&sent, 0);
    assert_eq!(json(&sent.out)["status"], 200);
    let got = origin.request().await;
    assert_eq!(
        got.field("Adit-Signature"),
        Some("valid; provider=cloudvno")
    );

    client.signal("TERM");
    assert_eq!(client.end().await.code, Some(0));
}

#[tokio::test]
async fn all_nine_events_are_sent_by_name_and_valid() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    for event in [
        "message.delivered",
        "message.failed",
        "message.received",
        "call.answered",
        "call.completed",
        "call.failed",
        "verification.approved",
        "number.provisioned",
        "recording.available",
    ] {
        let sent = laptop
            .run(&["send", "cloudvno", event, "--to", "shop", "--json"])
            .await;
        is(&sent, 0);
        let line = json(&sent.out);
        assert_eq!(
            (&line["event"], &line["status"]),
            (&event.into(), &200.into())
        );
        let got = world.origin.request().await;
        assert_eq!(
            got.field("Adit-Signature"),
            Some("valid; provider=cloudvno"),
            "{event}"
        );
        let response = json(&client.line_with("response").await);
        assert_eq!(response["signature"], "valid", "{event}");
    }
}

#[tokio::test]
async fn sending_to_an_app_that_fails_is_1_with_a_hint() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    world.origin.always(Script::answer(500, "broken"));
    let sent = laptop
        .run(&["send", "cloudvno", "delivered", "--to", "shop"])
        .await;
    fails(&sent, 1);
    let nobody = laptop
        .run(&["send", "cloudvno", "delivered", "--to", "nobody"])
        .await;
    fails(&nobody, 2);
}

#[tokio::test]
async fn a_second_terminal_lists_shows_and_replays_through_the_running_client() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    world.origin.next(Script::answer(500, "broken"));
    assert_eq!(world.event(EVENT).await.status, 500);
    world.origin.request().await;
    client.line_with("response").await;

    records_are_there(&laptop).await;

    // The replay went through the client that runs: it says so.
    let line = json(&client.line_with("replay").await);
    assert_eq!(
        (&line["attempt"], &line["status"]),
        (&2.into(), &200.into())
    );
    assert_eq!(world.origin.request().await.body, EVENT.as_bytes());
}

#[tokio::test]
async fn records_at_rest_are_listed_shown_and_replayed() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    world.origin.next(Script::answer(500, "broken"));
    assert_eq!(world.event(EVENT).await.status, 500);
    world.origin.request().await;
    client.line_with("response").await;
    client.signal("TERM");
    assert_eq!(client.end().await.code, Some(0));

    records_are_there(&laptop).await;

    assert_eq!(world.origin.request().await.body, EVENT.as_bytes());
}

#[tokio::test]
async fn what_was_recorded_outlives_kill_9() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    let gate = Gate::default();
    assert_eq!(world.event(EVENT).await.status, 200);
    client.line_with("response").await;
    // Listing reads the file, so what is listed is in it.
    let listed = laptop.run(&["list", "--json"]).await;
    assert_eq!(lines(&listed).len(), 1);
    world.origin.next(Script::default().request().wait(&gate));
    let _pending = world.begin("/pending").await;
    world.origin.head().await;
    world.origin.head().await;

    client.signal("KILL");
    assert_eq!(client.end().await.code, None);
    assert_eq!(laptop.running().len(), 1, "its file is left behind");

    let mut client = laptop.http(&world, &[]);
    client.line_with("online").await;
    let listed = laptop.run(&["list", "--json"]).await;
    is(&listed, 0);
    let all = lines(&listed);
    assert_eq!(all[0]["event"], "message.delivered", "{}", listed.out);
    assert_eq!(all[0]["status"], 200);
    // The one under way, if its head reached the disk, has come to an end.
    assert!(
        all.iter()
            .all(|d| !d["status"].is_null() || !d["cause"].is_null()),
        "{}",
        listed.out
    );
}

#[tokio::test]
async fn two_clients_of_one_home_run_beside_each_other() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let mut first = laptop.http(&world, &[]);
    first.line_with("online").await;
    let other = Origin::start();
    let (app, relay, ca) = (other.address().to_string(), relay(&world), ca(&world));
    let mut second = laptop.start(&[
        "http",
        &app,
        "--relay",
        &relay,
        "--relay-ca",
        &ca,
        "--name",
        "other",
        "--inspect",
        "127.0.0.1:0",
        "--json",
    ]);
    second.line_with("online").await;
    assert_eq!(laptop.running().len(), 2);
    is(
        &laptop
            .run(&["send", "cloudvno", "delivered", "--to", "other"])
            .await,
        0,
    );
    assert_eq!(other.request().await.line(), "POST /webhook HTTP/1.1");
    second.signal("TERM");
    assert_eq!(second.end().await.code, Some(0));
    assert_eq!(laptop.running().len(), 1);
    assert_eq!(world.event(EVENT).await.status, 200);
}

#[tokio::test]
async fn the_same_command_gets_the_same_url_again() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let (app, relay, ca) = (
        world.origin.address().to_string(),
        relay(&world),
        ca(&world),
    );
    let mut urls = Vec::new();
    for _ in 0..2 {
        let mut client = laptop.start(&[
            "http",
            &app,
            "--relay",
            &relay,
            "--relay-ca",
            &ca,
            "--inspect",
            "off",
            "--json",
        ]);
        urls.push(text(&tunnel(&mut client).await["url"]));
        client.signal("TERM");
        assert_eq!(client.end().await.code, Some(0));
    }
    assert_eq!(urls[0], urls[1]);
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_2() {
    let laptop = Laptop::new();
    for arguments in [
        &["http", "not an origin"][..],
        &["http", "3000", "--relay", "http://x"],
        &["http", "3000", "--name", "Not A Name"],
        &["http", "3000", "--inspect", "nowhere"],
        &["http", "3000", "--inspect", "0.0.0.0:0"],
        &["http", "3000", "--verify", "/x=nobody"],
        &["http", "3000", "--no-such-flag"],
        &[
            "send",
            "cloudvno",
            "no.such.event",
            "--to",
            "http://127.0.0.1:1/",
        ],
        &["send", "nobody", "x", "--to", "http://127.0.0.1:1/"],
        &["replay"],
        &["no-such-command"],
    ] {
        let ended = laptop.run(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
        assert!(
            ended.err.starts_with("error: "),
            "{arguments:?}: {}",
            ended.err
        );
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn a_configuration_of_no_use_is_3() {
    let laptop = Laptop::new();
    let file = laptop.file("config/adit/client.toml", "relay = \"a\"\nrealy = \"b\"\n");
    let ended = laptop.run(&["http", "3000"]).await;
    fails(&ended, 3);
    assert!(ended.err.contains("client.toml:2"), "{}", ended.err);
    assert!(ended.err.contains("did you mean relay?"), "{}", ended.err);

    std::fs::remove_file(file).expect("it was there");
    let no_ca = laptop.home.path().join("no.pem").display().to_string();
    let asked = [
        "http",
        "3000",
        "--relay",
        "127.0.0.1:1",
        "--relay-ca",
        &no_ca,
        "--inspect",
        "off",
    ];
    fails(&laptop.run(&asked).await, 3);
    let junk = laptop
        .file("junk.pem", "no certificate")
        .display()
        .to_string();
    let asked = [
        "http",
        "3000",
        "--relay",
        "127.0.0.1:1",
        "--relay-ca",
        &junk,
        "--inspect",
        "off",
    ];
    fails(&laptop.run(&asked).await, 3);
    let reject = [
        "http",
        "3000",
        "--verify",
        "/=stripe",
        "--on-invalid",
        "reject",
    ];
    let ended = laptop.run(&reject).await;
    fails(&ended, 3);
    assert!(ended.err.contains("ADIT_SECRET_STRIPE"), "{}", ended.err);
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_3() {
    let laptop = Laptop::new();
    laptop.file("data", "a file where the folder should be");
    fails(&laptop.run(&["http", "3000", "--inspect", "off"]).await, 3);
}

#[tokio::test]
async fn a_refusal_of_the_relay_is_4() {
    let world = World::with(RelaySetup::Tokens, Origin::start()).await;
    let laptop = Laptop::new();
    let none = laptop.http(&world, &[]).end().await;
    fails(&none, 4);
    assert!(none.err.contains("ADIT_TOKEN"), "{}", none.err);
    let wrong = laptop
        .http(&world, &[("ADIT_TOKEN", "adit_00000000_0000")])
        .end()
        .await;
    fails(&wrong, 4);
    assert!(
        !wrong.err.contains("adit_00000000_0000"),
        "a token is never shown: {}",
        wrong.err
    );

    let token = world.relay.add_token("laptop", "*");
    let mut client = laptop.http(&world, &[("ADIT_TOKEN", &token)]);
    client.line_with("online").await;
    // Somebody else's laptop asks for the same name.
    let other = Laptop::new();
    let taken = other.http(&world, &[("ADIT_TOKEN", &token)]).end().await;
    fails(&taken, 4);
    assert!(taken.err.contains("shop"), "{}", taken.err);

    world.relay.revoke_token("laptop");
    let offline = json(&client.line_with("offline").await);
    assert!(text(&offline["reason"]).contains("revoked"));
    fails(&client.end().await, 4);
    assert!(laptop.running().is_empty());
}

#[tokio::test]
async fn a_token_in_the_config_file_is_a_source() {
    let world = World::with(RelaySetup::Tokens, Origin::start()).await;
    let token = world.relay.add_token("laptop", "*");
    let laptop = Laptop::new();
    let kept = laptop.file("token", &format!("{token}\n"));
    let (relay, ca) = (relay(&world), ca(&world));
    laptop.file(
        "config/adit/client.toml",
        &format!(
            "relay = {relay:?}\nrelay_ca = {ca:?}\ntoken = \"file:{}\"\ninspect = \"127.0.0.1:0\"\n\
             [tunnel.mine]\norigin = \"{}\"\nname = \"shop\"\n",
            kept.display(),
            world.origin.address()
        ),
    );
    let app = world.origin.address().to_string();
    let mut client = laptop.start(&["http", &app, "--json"]);
    assert_eq!(tunnel(&mut client).await["name"], "shop");
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_5() {
    // Nothing listens there, and nobody else gets the port.
    let nothing = Origin::absent();
    let laptop = Laptop::new();
    let relay = nothing.address().to_string();
    let ended = laptop
        .run(&[
            "http",
            "3000",
            "--relay",
            &relay,
            "--inspect",
            "off",
            "--json",
        ])
        .await;
    fails(&ended, 5);
    assert!(ended.err.contains(&relay), "{}", ended.err);
}

#[tokio::test]
async fn a_relay_whose_certificate_is_not_trusted_is_5() {
    let world = World::start().await;
    let laptop = Laptop::new();
    let relay = relay(&world);
    let ended = laptop
        .run(&[
            "http",
            "3000",
            "--relay",
            &relay,
            "--inspect",
            "off",
            "--json",
        ])
        .await;
    fails(&ended, 5);
    assert!(ended.err.contains("--relay-ca"), "{}", ended.err);
}

#[tokio::test]
async fn a_port_that_is_taken_is_1_and_says_how_to_see_who_holds_it() {
    let holder = Origin::start();
    let laptop = Laptop::new();
    let taken = holder.address().to_string();
    for flags in [
        &["--inspect", taken.as_str()][..],
        &["--inspect", "off", "--embedded-listen", taken.as_str()],
    ] {
        let ended = laptop
            .run(&[&["http", "3000", "--json"], flags].concat())
            .await;
        fails(&ended, 1);
        assert!(
            ended.err.contains(&taken) && ended.err.contains("ss -"),
            "{}",
            ended.err
        );
    }
}

#[tokio::test]
async fn unknown_and_ambiguous_ids_are_1() {
    let laptop = Laptop::new();
    is(&laptop.run(&["list", "--json"]).await, 0);
    fails(&laptop.run(&["show", "zzzzzz"]).await, 1);
    fails(&laptop.run(&["replay", "zzzzzz"]).await, 1);
    is(&laptop.run(&["replay", "--failed"]).await, 0);
}

#[tokio::test]
async fn version_and_help_are_0() {
    let laptop = Laptop::new();
    let version = laptop.run(&["--version"]).await;
    is(&version, 0);
    assert_eq!(
        version.out,
        format!("client {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = laptop.run(&["--help"]).await;
    is(&help, 0);
    for command in ["http", "list", "show", "replay", "send", "verify", "demo"] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{}",
            help.out
        );
    }
}

/// One failed delivery of [`EVENT`] is listed and shown; it is replayed with success.
async fn records_are_there(laptop: &Laptop) {
    let listed = laptop.run(&["list", "--json"]).await;
    is(&listed, 0);
    let all = lines(&listed);
    let [delivery] = &all[..] else {
        panic!("one delivery: {}", listed.out);
    };
    for (field, value) in [
        ("type", "delivery"),
        ("name", "shop"),
        ("method", "POST"),
        ("path", "/webhook"),
        ("provider", "cloudvno"),
        ("event", "message.delivered"),
        ("signature", "valid"),
    ] {
        assert_eq!(delivery[field], value, "{delivery}");
    }
    assert_eq!(
        (&delivery["status"], &delivery["failed"]),
        (&500.into(), &true.into())
    );
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(delivery["retry"]["state"], "expected");
    let id = text(&delivery["id"]);
    let plain = laptop.run(&["list"]).await;
    assert!(
        plain.out.contains(&id) && plain.out.contains("500"),
        "{}",
        plain.out
    );
    assert_eq!(laptop.run(&["list", "no such thing"]).await.out, "");
    assert_eq!(
        lines(&laptop.run(&["list", "--failed", "--json"]).await).len(),
        1
    );

    let piece = &id[10..];
    let body = laptop.run(&["show", piece, "--body"]).await;
    assert_eq!(body.out.trim_end(), EVENT);
    let raw = laptop.run(&["show", piece, "--raw"]).await;
    assert!(
        raw.out
            .starts_with("POST /webhook HTTP/1.1\nHost: shop.localhost:"),
        "{}",
        raw.out
    );
    assert!(
        raw.out.trim_end().ends_with(&format!("\n\n{EVENT}")),
        "{}",
        raw.out
    );
    let signature = laptop.run(&["show", piece, "--signature"]).await;
    assert!(signature.out.contains("valid"), "{}", signature.out);
    let curl = laptop.run(&["show", piece, "--curl"]).await;
    assert!(
        curl.out
            .starts_with("curl -X 'POST' 'https://shop.localhost:"),
        "{}",
        curl.out
    );
    let shown = json(&laptop.run(&["show", piece, "--json"]).await.out);
    assert_eq!(shown["shown"]["response"]["status"], 500);
    let page = laptop.run(&["show", piece]).await;
    assert!(
        page.out.contains("broken") && page.out.contains("next retry 1 of"),
        "{}",
        page.out
    );

    let dry = laptop.run(&["replay", &id, "--dry-run"]).await;
    is(&dry, 0);
    let replayed = laptop
        .run(&["replay", "--failed", "--expect", "2xx", "--json"])
        .await;
    is(&replayed, 0);
    let line = json(&replayed.out);
    assert_eq!(
        (&line["attempt"], &line["status"]),
        (&2.into(), &200.into())
    );
    assert_eq!(line["trigger"], "replay");
    let now = lines(&laptop.run(&["list", "--json"]).await);
    assert_eq!(now.len(), 1);
    assert_eq!(now[0]["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(now[0]["failed"], false);
    // Nothing is left to replay; and an expectation that is not met is 6.
    assert_eq!(laptop.run(&["replay", "--failed", "--json"]).await.out, "");
    fails_without_hint(&laptop.run(&["replay", &id, "--expect", "404"]).await, 6);
}

/// A home that begins empty.
struct Laptop {
    home: TempDir,
}

impl Laptop {
    fn new() -> Laptop {
        Laptop {
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    fn start(&self, arguments: &[&str]) -> Program {
        Program::start(CLIENT, self.home.path(), arguments, &[SECRET])
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end().await
    }

    /// `client http` with the name `shop` towards the world's relay and app, and NDJSON.
    fn http(&self, world: &World, set: &[(&str, &str)]) -> Program {
        let (app, relay, ca) = (world.origin.address().to_string(), relay(world), ca(world));
        let arguments = [
            "http",
            &app,
            "--relay",
            &relay,
            "--relay-ca",
            &ca,
            "--name",
            "shop",
            "--inspect",
            "127.0.0.1:0",
            "--json",
        ];
        Program::start(
            CLIENT,
            self.home.path(),
            &arguments,
            &[&[SECRET], set].concat(),
        )
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// What running clients leave for other commands.
    fn running(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.home.path().join("data/adit")).expect("a folder");
        folder
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name.starts_with("running-"))
            .collect()
    }
}

/// The line that says the public URL.
async fn tunnel(client: &mut Program) -> Value {
    json(&client.line_with("\"tunnel\"").await)
}

fn relay(world: &World) -> String {
    world.link.address().to_string()
}

fn ca(world: &World) -> String {
    world.relay.ca().display().to_string()
}

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(json).collect()
}

#[track_caller]
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

#[track_caller]
fn is(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}", ended.err);
}

/// It failed with this code, and said what happened and what next, on stderr.
#[track_caller]
fn fails(ended: &Ended, code: i32) {
    fails_without_hint(ended, code);
    assert!(ended.err.contains("\nhint: "), "{}", ended.err);
}

#[track_caller]
fn fails_without_hint(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}", ended.err);
    assert!(ended.err.contains("error: "), "{}", ended.err);
}
