//! Much at once, slow readers, and those who leave: what flows, what waits, and for whom.

use std::time::Duration;
use testkit::{End, Gate, Script, World};
use tokio::sync::watch;
use tunnel::Transport;

testkit::over_both! {
    a_big_upload_waits_for_a_slow_app_and_arrives_byte_for_byte,
    a_big_answer_waits_for_a_slow_sender_and_arrives_whole,
    stalled_readers_stop_nobody_else,
    uploads_that_an_app_does_not_read_stop_nobody_else,
    a_sender_that_leaves_cancels_its_request_at_the_app,
    a_sender_that_leaves_inside_its_body_is_no_whole_request_at_the_app,
    a_sender_that_leaves_inside_the_answer_stops_the_app,
    many_senders_at_once_are_each_answered_their_own,
}

/// A big body.
const BIG: u64 = 64 * 1024 * 1024;

/// What may be under way of it while nobody reads: 1 MiB in the tunnel, and what the kernel takes
/// into the sockets at both ends (up to 6 MiB received and 4 MiB sent, each).
const UNDER_WAY: u64 = 32 * 1024 * 1024;

/// Nothing moved for so long: it stands still. Too short on a slow machine, it only makes a test
/// see less under way than there is.
const STILL: Duration = Duration::from_secs(1);

async fn a_big_upload_waits_for_a_slow_app_and_arrives_byte_for_byte(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let gate = Gate::default();
    world.origin.next(
        Script::default()
            .wait(&gate)
            .request()
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"),
    );
    let (progress, mut written) = watch::channel(0);
    let mut wire = world.sender.connect().await;
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {BIG}\r\n\r\n",
        world.host()
    ))
    .await;
    let piece = pattern();
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for _ in 0..BIG / piece.len() as u64 {
        digest.update(&piece);
    }
    let upload = tokio::spawn(async move {
        for _ in 0..BIG / piece.len() as u64 {
            wire.try_write(&piece).await.expect("the connection stands");
            progress.send_modify(|written| *written += piece.len() as u64);
        }
        wire
    });
    world.origin.head().await;

    standstill(&mut written).await;
    let waiting = *written.borrow();
    assert!(
        waiting < UNDER_WAY,
        "{waiting} bytes were taken while nobody read"
    );
    gate.open();

    let got = world.origin.request().await;
    let mut wire = upload.await.expect("all was sent");
    assert_eq!(wire.answer().await.text(), "done");
    assert_eq!((got.len, got.whole), (BIG, true));
    assert_eq!(got.digest, digest.finish().as_ref());
    // The record has the beginning, and says so.
    let delivery = client.delivery(1).await;
    let (request, _) = client.exact(&delivery, 1).await;
    assert_eq!(request.body.len, BIG);
    assert!(!request.body.is_exact());
    assert!(
        client.replay(&delivery).await.is_err(),
        "it would not be the same"
    );
}

async fn a_big_answer_waits_for_a_slow_sender_and_arrives_whole(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
    world.origin.next(Script::raw(head).many(BIG));
    let mut wire = world.begin("/").await;
    assert_eq!(wire.head().await.status, 200);

    let mut sent = world.origin.sent();
    standstill(&mut sent).await;
    let waiting = *sent.borrow();
    assert!(
        waiting < UNDER_WAY,
        "{waiting} bytes were taken while nobody read"
    );

    let mut got = 0;
    while got < BIG {
        let n = testkit::soon("more of the answer", wire.discard()).await;
        assert_ne!(n, 0, "cut after {got} bytes");
        got += n as u64;
    }
    assert_eq!(got, BIG);
    let delivery = client.delivery(1).await;
    assert_eq!(
        delivery.attempts[0].outcome,
        capture::Outcome::Answered {
            status: 200,
            bytes: BIG
        }
    );
}

async fn stalled_readers_stop_nobody_else(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
    let mut stalled = Vec::new();
    for _ in 0..64 {
        world.origin.next(Script::raw(&head).many(BIG));
        let mut wire = world.begin("/").await;
        assert_eq!(wire.head().await.status, 200);
        stalled.push(wire);
    }
    let mut sent = world.origin.sent();
    standstill(&mut sent).await;
    let waiting = *sent.borrow();
    assert!(
        waiting < 64 * UNDER_WAY,
        "{waiting} bytes while nobody reads"
    );
    for _ in 0..10 {
        assert_eq!(world.get("/").await.text(), "hello from the app\n");
    }
}

async fn uploads_that_an_app_does_not_read_stop_nobody_else(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let gate = Gate::default();
    let (progress, mut written) = watch::channel(0_u64);
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..16 {
        world.origin.next(Script::default().wait(&gate));
        let mut wire = world.sender.connect().await;
        wire.write(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BIG}\r\n\r\n"
        ))
        .await;
        world.origin.head().await;
        let progress = progress.clone();
        uploads.spawn(async move {
            let piece = pattern();
            while wire.try_write(&piece).await.is_ok() {
                progress.send_modify(|written| *written += piece.len() as u64);
            }
        });
    }
    standstill(&mut written).await;
    for _ in 0..10 {
        assert_eq!(world.get("/").await.text(), "hello from the app\n");
    }
}

async fn a_sender_that_leaves_cancels_its_request_at_the_app(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let host = world.host();
    let waiting = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let signed = testkit::cloudvno(
        &format!("https://{host}/webhook"),
        "event=call.failed&CallSid=CA1",
        testkit::Setup::SECRET,
    );
    for (i, request) in [waiting, signed].into_iter().enumerate() {
        world.origin.next(Script::never());
        let mut wire = world.sender.connect().await;
        wire.write(request).await;
        world.origin.request().await;
        drop(wire);
        world.origin.gone().await;
        client
            .records_when("the sender's leaving is recorded", |all| {
                all.len() == i + 1 && all.iter().all(|d| cause(d) == Some("sender-gone"))
            })
            .await;
    }
}

async fn a_sender_that_leaves_inside_its_body_is_no_whole_request_at_the_app(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let host = world.host();
    for framing in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        world.origin.next(Script::never());
        let mut read = world.origin.read();
        let before = *read.borrow();
        let mut wire = world.sender.connect().await;
        wire.write(format!("POST / HTTP/1.1\r\nHost: {host}\r\n{framing}"))
            .await;
        world.origin.head().await;
        testkit::soon("the app reads", read.wait_for(|read| *read == before + 5))
            .await
            .expect("it counts");
        drop(wire);
        let got = world.origin.request().await;
        assert!(!got.whole, "{framing}");
    }
    let all = client.records_when("both are over", |all| {
        all.len() == 2 && all.iter().all(|d| d.is_failed())
    });
    for delivery in all.await {
        assert_eq!(cause(&delivery), Some("sender-gone"));
    }
}

async fn a_sender_that_leaves_inside_the_answer_stops_the_app(transport: Transport) {
    let world = World::over(transport).await;
    let client = world.client().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
    world.origin.next(Script::raw(head).many(BIG));
    let mut wire = world.begin("/").await;
    assert_eq!(wire.head().await.status, 200);
    standstill(&mut world.origin.sent()).await;

    drop(wire);

    client
        .records_when("the sender's leaving is recorded", |all| {
            all.len() == 1 && cause(&all[0]) == Some("sender-gone")
        })
        .await;
    assert!(*world.origin.sent().borrow() < BIG);
}

async fn many_senders_at_once_are_each_answered_their_own(transport: Transport) {
    let world = World::over(transport).await;
    let _client = world.client().await;
    let host = world.host();
    let mut senders = tokio::task::JoinSet::new();
    for i in 0..100 {
        let (sender, host) = (world.sender.clone(), host.clone());
        senders.spawn(async move {
            let answer = sender
                .send(format!("GET /{i} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .await;
            assert_eq!((answer.status, answer.end), (200, End::Whole));
        });
    }
    while let Some(done) = senders.join_next().await {
        done.expect("an answer");
    }
    let mut lines = Vec::new();
    for _ in 0..100 {
        lines.push(world.origin.request().await.line().to_owned());
    }
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 100, "each came once");
}

/// 64 KiB in which every place looks different from its neighbours.
fn pattern() -> Vec<u8> {
    (0..65_536_u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

/// Waits until a count has not changed for [`STILL`].
async fn standstill(count: &mut watch::Receiver<u64>) {
    testkit::soon("a standstill", async {
        while let Ok(Ok(())) = tokio::time::timeout(STILL, count.changed()).await {}
    })
    .await;
}

fn cause(delivery: &capture::Delivery) -> Option<&str> {
    match &delivery.attempts[0].outcome {
        capture::Outcome::Failed { cause, .. } => Some(cause),
        _ => None,
    }
}
