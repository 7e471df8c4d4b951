//! The tunnel's life: who may come in, who holds a name, and what survives which loss.

use client::agent::ConnectError;
use client::failure::Exit;
use client::status::State;
use std::time::Duration;
use testkit::{Client, Direction, Gate, Home, Origin, RelaySetup, Script, Setup, World, soon};
use tunnel::HandshakeError;
use tunnel::Transport;
use wire::RefusedReason;

testkit::over_both! {
    a_token_that_is_missing_wrong_or_revoked_is_refused,
    a_token_revoked_while_connected_ends_the_session_for_good,
    a_name_in_use_is_refused_to_another_key,
    a_killed_client_takes_its_name_back_at_once,
    a_second_client_with_the_same_key_replaces_the_first,
    a_cut_link_is_noticed_by_both_and_mended_with_the_same_url,
    a_link_cut_in_one_direction_is_noticed_too,
    what_a_stall_holds_up_arrives_when_it_is_over,
    a_slow_link_carries_requests_and_says_how_slow,
    a_relay_killed_and_restarted_has_its_clients_back,
    an_answer_that_a_dead_relay_cannot_have_taken_is_recorded_as_lost,
    a_relay_that_drains_lets_the_request_under_way_finish,
    a_relay_that_drains_ends_what_takes_longer_than_its_grace,
    one_session_cannot_serve_anothers_name,
}

async fn a_token_that_is_missing_wrong_or_revoked_is_refused(transport: Transport) {
    let world = World::with(RelaySetup::Tokens, Origin::start()).await;
    let good = world.relay.add_token("good", "*");
    let revoked = world.relay.add_token("revoked", "*");
    world.relay.revoke_token("revoked");
    let mut altered = good.clone();
    altered.replace_range(
        good.len() - 1..,
        if good.ends_with('0') { "1" } else { "0" },
    );
    let truncated = good[..good.len() - 1].to_owned();
    let public_part = good[..14].to_owned();
    for (token, reason) in [
        (String::new(), RefusedReason::TokenMissing),
        (String::from("nonsense"), RefusedReason::TokenUnknown),
        (
            String::from("adit_00000000_00000000000000000000000000000000"),
            RefusedReason::TokenUnknown,
        ),
        (altered, RefusedReason::TokenUnknown),
        (truncated, RefusedReason::TokenUnknown),
        (public_part, RefusedReason::TokenUnknown),
        (revoked, RefusedReason::TokenRevoked),
    ] {
        let setup = Setup {
            token: token.clone(),
            ..Setup::over(transport)
        };
        match world.client_with(setup).await {
            Err(ConnectError::Handshake(HandshakeError::Refused(refused))) => {
                assert_eq!(refused.reason, reason, "{token}");
                assert!(!refused.message.is_empty());
                assert!(token.is_empty() || !refused.message.contains(&token));
            }
            other => panic!("{token:?} was not refused: {other:?}"),
        }
    }
    assert_eq!(
        world.get("/").await.cause(),
        Some("unknown-name"),
        "no name was taken"
    );

    let setup = Setup {
        token: good,
        ..Setup::over(transport)
    };
    let _client = world
        .client_with(setup)
        .await
        .expect("a good token opens the relay");
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn a_token_opens_only_the_names_it_is_for() {
    let world = World::with(RelaySetup::Tokens, Origin::start()).await;
    let token = world.relay.add_token("alice", "alice-*");
    let setup = |name: &str| Setup {
        token: token.clone(),
        name: name.to_owned(),
        ..Setup::default()
    };
    refused(
        world.client_with(setup("shop")).await,
        RefusedReason::NameNotAllowed,
    );
    refused(
        world.client_with(setup("-shop")).await,
        RefusedReason::NameInvalid,
    );
    refused(
        world.client_with(setup("xn--shop")).await,
        RefusedReason::NameInvalid,
    );
    let client = world
        .client_with(setup("alice-dev"))
        .await
        .expect("a session");
    assert_eq!(client.name(), "alice-dev");
}

async fn a_token_revoked_while_connected_ends_the_session_for_good(transport: Transport) {
    let world = World::with(RelaySetup::Tokens, Origin::start()).await;
    let token = world.relay.add_token("shop", "*");
    let setup = Setup {
        token,
        ..Setup::over(transport)
    };
    let mut client = world.client_with(setup).await.expect("a session");
    assert_eq!(world.get("/").await.status, 200);

    world.relay.revoke_token("shop");

    let failure = client.gives_up().await;
    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.error.contains("revoked"), "{}", failure.error);
    assert!(failure.hint.is_some());
    assert_eq!(client.status.borrow().state, State::Offline);
    world.away().await;
}

async fn a_name_in_use_is_refused_to_another_key(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;

    let error = refused(
        world.client_with(Setup::over(transport)).await,
        RefusedReason::NameTaken,
    );

    assert!(error.contains("shop") && error.contains("until"), "{error}");
    assert_eq!(
        world.get("/").await.status,
        200,
        "the owner is not disturbed"
    );
}

#[tokio::test]
async fn a_name_stays_its_owners_while_he_is_away_and_when_the_relay_restarts() {
    let mut world = World::start().await;
    let setup = Setup::default();
    let client = world.client_with(setup.clone()).await.expect("a session");
    let url = client.url().to_owned();
    client.stop().await;
    world.away().await;
    refused(
        world.client_with(Setup::default()).await,
        RefusedReason::NameTaken,
    );

    world.relay.kill();
    world.relay.start_again().await;

    assert_eq!(world.get("/").await.cause(), Some("client-away"));
    refused(
        world.client_with(Setup::default()).await,
        RefusedReason::NameTaken,
    );
    let client = world
        .client_with(setup)
        .await
        .expect("the owner comes back");
    assert_eq!(client.url(), url);
    assert_eq!(world.get("/").await.status, 200);
}

async fn a_killed_client_takes_its_name_back_at_once(transport: Transport) {
    let world = World::over(transport).await;
    let setup = Setup::over(transport);
    world
        .client_with(setup.clone())
        .await
        .expect("a session")
        .kill();

    // The relay takes 6 s to notice that the other is dead; nobody waits for that.
    let client = world
        .client_with(setup)
        .await
        .expect("the same key takes over");

    assert_eq!(client.name(), "shop");
    assert_eq!(world.get("/").await.status, 200);
}

async fn a_second_client_with_the_same_key_replaces_the_first(transport: Transport) {
    let world = World::over(transport).await;
    let home = Home::default();
    let setup = Setup {
        home,
        ..Setup::over(transport)
    };
    let mut first = world.client_with(setup.clone()).await.expect("a session");
    let _second = world.client_with(setup).await.expect("a session");

    let failure = first.gives_up().await;

    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.error.contains("shop"), "{}", failure.error);
    assert_eq!(world.get("/").await.status, 200, "the second serves");
}

#[tokio::test]
async fn whoever_asks_for_no_name_gets_one() {
    let world = World::start().await;
    let setup = Setup {
        name: String::new(),
        ..Setup::default()
    };
    let client = world.client_with(setup).await.expect("a session");
    let authority = client.authority().to_owned();
    assert!(authority.starts_with(&format!("{}.localhost:", client.name())));
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(world.sender.send(request).await.status, 200);
}

async fn a_cut_link_is_noticed_by_both_and_mended_with_the_same_url(transport: Transport) {
    let world = World::over(transport).await;
    let mut client = world.client().await;
    let url = client.url().to_owned();
    client
        .status_when("online", |s| s.state == State::Online)
        .await;
    assert_eq!(world.get("/").await.status, 200);

    world.link.cut();

    let lost = client.status_when("reconnecting", is_reconnecting).await;
    assert!(lost.reason.is_some());
    assert_eq!(
        lost.url.as_deref(),
        Some(url.as_str()),
        "the URL is still shown"
    );
    assert_eq!(lost.transport, None);
    world.away().await;

    world.link.open();

    let back = client
        .status_when("online again", |s| s.state == State::Online)
        .await;
    assert_eq!(back.url.as_deref(), Some(url.as_str()));
    assert!(back.reconnects >= 1);
    assert_eq!(back.reason, None);
    assert_eq!(world.get("/").await.status, 200);
}

async fn a_link_cut_in_one_direction_is_noticed_too(transport: Transport) {
    let story = async |direction: Direction| {
        let world = World::over(transport).await;
        let mut client = world.client().await;
        world.link.cut_one(direction);
        client.status_when("reconnecting", is_reconnecting).await;
        world.link.open();
        client
            .status_when("online again", |s| s.state == State::Online)
            .await;
        assert_eq!(
            world.get("/").await.status,
            200,
            "after {direction:?} was cut"
        );
    };
    tokio::join!(story(Direction::ToRelay), story(Direction::ToClient));
}

async fn what_a_stall_holds_up_arrives_when_it_is_over(transport: Transport) {
    let world = World::over(transport).await;
    let mut client = world.client().await;
    client
        .status_when("online", |s| s.state == State::Online)
        .await;
    world.link.hold();
    let mut wire = world.begin("/held").await;

    world.link.open();

    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(world.origin.seen(), 1, "it came once");
    assert_eq!(client.status.borrow().reconnects, 0);
}

async fn a_slow_link_carries_requests_and_says_how_slow(transport: Transport) {
    let world = World::over(transport).await;
    world.link.delay(Duration::from_millis(30));
    let mut client = world.client().await;
    let status = client.status_when("online", |s| s.rtt.is_some()).await;
    assert!(
        status
            .rtt
            .is_some_and(|rtt| rtt >= Duration::from_millis(60))
    );
    assert_eq!(
        world.event("event=call.failed&CallSid=CA1").await.status,
        200
    );
}

#[tokio::test]
async fn a_request_under_way_survives_a_change_of_networks() {
    let world = World::start().await;
    let client = world.client().await;
    let gate = Gate::default();
    world.origin.next(
        Script::default()
            .request()
            .wait(&gate)
            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmoved"),
    );
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    world.link.change_addresses();
    gate.open();

    assert_eq!(wire.answer().await.text(), "moved");
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(client.status.borrow().reconnects, 0, "the session went on");
}

async fn a_relay_killed_and_restarted_has_its_clients_back(transport: Transport) {
    let mut world = World::over(transport).await;
    let mut client = world.client().await;
    let url = client.url().to_owned();
    world.origin.next(Script::never());
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    world.relay.kill();

    assert_eq!(wire.closed().await, b"", "no answer is made up");
    world.relay.start_again().await;
    let back = client
        .status_when("online again", |s| {
            s.state == State::Online && s.reconnects > 0
        })
        .await;
    assert_eq!(back.url.as_deref(), Some(url.as_str()));
    // The request was cancelled at the app, and is never sent twice by us.
    world.origin.gone().await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.origin.seen(), 2);
}

async fn an_answer_that_a_dead_relay_cannot_have_taken_is_recorded_as_lost(transport: Transport) {
    let mut world = World::over(transport).await;
    let client = world.client().await;
    let gate = Gate::default();
    world.origin.next(
        Script::default()
            .request()
            .wait(&gate)
            .send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfinished"),
    );
    let _wire = world.begin("/").await;
    world.origin.head().await;

    world.relay.kill();
    gate.open();

    client
        .records_when("the answer as lost", |all| {
            all.len() == 1 && all[0].is_failed()
        })
        .await;
}

async fn a_relay_that_drains_lets_the_request_under_way_finish(transport: Transport) {
    let world = World::over(transport).await;
    let mut client = world.client().await;
    let gate = Gate::default();
    world.origin.next(
        Script::default()
            .request()
            .wait(&gate)
            .send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfinished"),
    );
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    let sender = world.sender.clone();
    let mut relay = world.relay;
    let draining = tokio::spawn(async move {
        relay.shut_down(testkit::DEADLINE).await;
        relay
    });
    client
        .status_when("the relay's wish is heard", |s| s.state != State::Online)
        .await;
    gate.open();

    assert_eq!(wire.answer().await.text(), "finished");
    assert_eq!(
        wire.closed().await,
        b"",
        "and the connection is closed in order"
    );
    let mut relay = soon("the relay has drained", draining)
        .await
        .expect("it ended");
    relay.start_again().await;
    client
        .status_when("online again", |s| s.state == State::Online)
        .await;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", client.authority());
    assert_eq!(sender.send(request).await.status, 200);
}

async fn a_relay_that_drains_ends_what_takes_longer_than_its_grace(transport: Transport) {
    let mut world = World::over(transport).await;
    let _client = world.client().await;
    world.origin.next(Script::never());
    let mut wire = world.begin("/").await;
    world.origin.head().await;

    soon(
        "the relay ends",
        world.relay.shut_down(Duration::from_millis(200)),
    )
    .await;

    wire.closed().await;
    world.origin.gone().await;
}

async fn one_session_cannot_serve_anothers_name(transport: Transport) {
    let world = World::over(transport).await;
    let _shop = world.client().await;
    let other_app = Origin::start();
    other_app.always(Script::ok("the other app"));
    let setup = Setup {
        name: String::from("other"),
        ..Setup::over(transport)
    };
    let ca = world.relay.ca().to_owned();
    let other = Client::start(setup, world.link.address(), ca, other_app.address())
        .await
        .expect("a session");
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", other.authority());
    assert_eq!(world.sender.send(request).await.text(), "the other app");
    assert_eq!(world.get("/").await.text(), "hello from the app\n");
    // The certificate was for `shop`: Host alone says where a request goes.
    other.stop().await;
    assert_eq!(world.get("/").await.status, 200);
}

fn is_reconnecting(status: &client::status::Status) -> bool {
    matches!(status.state, State::Reconnecting { .. })
}

/// The client was refused its name for this reason; the message.
#[track_caller]
fn refused(outcome: Result<Client, ConnectError>, reason: RefusedReason) -> String {
    match outcome {
        Err(ConnectError::Name(refused)) => {
            assert_eq!(refused.reason, reason);
            refused.message
        }
        other => panic!("not refused: {other:?}"),
    }
}
