//! The record as others use it: through recorders, watchers and readers.

use crate::store::FILE_NAME;
use crate::{
    Arrival, Attempt, BodyEnd, Change, Delivery, Failure, Fields, Health, Id, Limits, OpenError,
    Outcome, Query, Received, Recorder, Resolved, Retry, Store, Timestamp, Trigger,
};
use bytes::Bytes;
use signature::{Hint, Judgement, Verdict};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_record_survives_reopening_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let odd: Fields = vec![
        field("hOST", b"brave-otter.example.dev"),
        field("X-Twice", b"1"),
        field("accept", b"*/*"),
        field("x-twice", b""),
        field("X-Raw", b"\xff\xfe \x80"),
    ];
    let judgement = Judgement {
        verdict: Verdict::Invalid,
        provider: Some(String::from("cloudvno")),
        why: Some(String::from("no secret matches")),
        hint: Some(Hint {
            code: String::from("url-scheme-http"),
            sentence: String::from("it matches for http://"),
        }),
        ..Judgement::none()
    };
    let id = {
        let store = open(folder.path());
        let mut recorder = store.arrived(Arrival {
            fields: odd.clone(),
            target: String::from("//a/../b?q=%zz"),
            ..arrival(7)
        });
        recorder.request_body(&Bytes::from_static(b"\0one"));
        recorder.request_body(&Bytes::from_static(b"\xfftwo"));
        assert_eq!(recorder.request_kept(), (&b"\0one\xfftwo"[..], true));
        recorder.request_end(
            vec![field("Checksum", b"\x01")],
            BodyEnd::Whole,
            Received {
                judgement: judgement.clone(),
                provider: Some(String::from("cloudvno")),
                event: Some(String::from("message.delivered")),
                group: Some(String::from("evt_1")),
                schedule: Some(vec![Duration::from_secs(5)]),
            },
        );
        recorder.connected();
        recorder.sent();
        recorder.response_head(500, String::from("Oh No"), vec![field("ETag", b"\xe9")]);
        recorder.response_body(&Bytes::from_static(b"broken"));
        recorder.response_end(vec![field("grpc-status", b"13")]);
        recorder.delivery()
    };

    let store = open(folder.path());
    let (snapshot, _) = store.watch();
    let delivery = store.delivery(id).await.unwrap().unwrap();
    assert_eq!(format!("{delivery:?}"), format!("{:?}", snapshot[0]));
    assert_eq!(delivery.event.as_deref(), Some("message.delivered"));
    assert_eq!(delivery.bytes, 8);
    assert!(matches!(
        delivery.retry,
        Retry::At {
            number: 1,
            of: 1,
            ..
        }
    ));
    let attempt = &delivery.attempts[0];
    assert_eq!(
        attempt.outcome,
        Outcome::Answered {
            status: 500,
            bytes: 6
        }
    );
    let timing = attempt.timing;
    let marks = [
        timing.received,
        timing.connected,
        timing.sent,
        timing.head,
        timing.done,
    ];
    assert!(marks.iter().all(Option::is_some) && marks.is_sorted());

    let request = store.request(id).await.unwrap().unwrap();
    assert_eq!(request.fields, odd);
    assert_eq!(request.target, "//a/../b?q=%zz");
    assert_eq!(request.body.bytes, b"\0one\xfftwo"[..]);
    assert!(request.body.is_exact());
    assert_eq!(request.trailers, vec![field("Checksum", b"\x01")]);
    assert_eq!(request.signature, judgement);
    assert_eq!(request.version, "HTTP/1.1");
    let response = store.response(id, 1).await.unwrap().unwrap();
    assert_eq!((response.status, response.reason.as_str()), (500, "Oh No"));
    assert_eq!(response.fields, vec![field("ETag", b"\xe9")]);
    assert_eq!(response.body.bytes, b"broken"[..]);
    assert_eq!(response.trailers, vec![field("grpc-status", b"13")]);
}

#[tokio::test]
async fn a_body_is_kept_to_the_limit_and_counted_whole() {
    let store = Store::in_memory(Limits {
        body: 10,
        ..Limits::default()
    });
    let mut recorder = store.arrived(arrival(1));
    for _ in 0..3 {
        recorder.request_body(&Bytes::from_static(b"1234567"));
    }
    assert_eq!(recorder.request_kept(), (&b"1234567123"[..], false));
    recorder.request_end(vec![], BodyEnd::Whole, Received::unknown());
    let body = store.request(id(1)).await.unwrap().unwrap().body;
    assert_eq!((&body.bytes[..], body.len), (&b"1234567123"[..], 21));
    assert!(!body.is_exact());
    assert_eq!(recorder.attempt(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_record() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er");
    let store = open(&path);
    finish(store.arrived(arrival(1)), 200);
    store.flush().await;
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for name in [FILE_NAME, "capture.sqlite3-wal", "capture.sqlite3-shm"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_dropped_recorder_says_who_left() {
    let store = Store::in_memory(Limits::default());
    let mut gone = store.arrived(arrival(1));
    gone.request_body(&Bytes::from_static(b"half"));
    gone.abandon("sender-gone", "the sender closed the connection");
    drop(gone);
    let mut killed = store.arrived(arrival(2));
    killed.request_end(vec![], BodyEnd::Whole, Received::unknown());
    killed.sent();
    killed.response_head(200, String::new(), vec![]);
    killed.response_body(&Bytes::from_static(b"part"));
    drop(killed);

    let request = store.request(id(1)).await.unwrap().unwrap();
    assert_eq!(request.body.bytes, b"half"[..]);
    assert_eq!(request.body.end, BodyEnd::Cut);
    assert_eq!(
        outcome(&store, 1).await,
        Outcome::Failed {
            status: None,
            cause: String::from("sender-gone"),
            why: String::from("the sender closed the connection"),
            may_have_run: false,
        }
    );
    let Outcome::Failed {
        status,
        cause,
        may_have_run,
        ..
    } = outcome(&store, 2).await
    else {
        panic!("it has failed");
    };
    assert_eq!(
        (status, cause.as_str(), may_have_run),
        (Some(200), "client-stopped", true)
    );
    let response = store.response(id(2), 1).await.unwrap().unwrap();
    assert_eq!(
        (response.body.end, &response.body.bytes[..]),
        (BodyEnd::Cut, &b"part"[..])
    );
}

const FOLDER_OF_THE_KILLED: &str = "ADIT_TEST_FOLDER_OF_THE_KILLED";

#[tokio::test]
async fn attempts_of_a_killed_process_have_failed_and_those_of_a_living_one_have_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::child_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER_OF_THE_KILLED, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("recorded")));

    let beside = open(folder.path());
    assert_eq!(outcome(&beside, 1).await, Outcome::Pending);
    drop(beside);
    child.kill().unwrap();
    child.wait().unwrap();

    let store = open(folder.path());
    let Outcome::Failed {
        cause,
        may_have_run,
        ..
    } = outcome(&store, 1).await
    else {
        panic!("it has failed");
    };
    assert_eq!((cause.as_str(), may_have_run), ("client-stopped", true));
    assert_eq!(outcome(&store, 2).await.status(), Some(200));
    let left = std::fs::read_dir(folder.path()).unwrap();
    let names = left.map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|n| n.starts_with("run-")).count(), 0);
}

#[tokio::test]
#[ignore = "run by attempts_of_a_killed_process_have_failed_and_those_of_a_living_one_have_not"]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER_OF_THE_KILLED) else {
        return;
    };
    let store = open(Path::new(&folder));
    let mut pending = store.arrived(arrival(1));
    pending.request_end(vec![], BodyEnd::Whole, Received::unknown());
    finish(store.arrived(arrival(2)), 200);
    store.flush().await;
    println!("recorded");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn retries_of_one_event_are_attempts_of_one_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    finish_grouped(store.arrived(arrival(1)), "evt", 500);
    let mut again = store.arrived(arrival(2));
    assert_eq!(again.delivery(), id(2));
    again.request_body(&Bytes::from_static(b"second"));
    again.request_end(vec![], BodyEnd::Whole, grouped("evt"));
    assert_eq!((again.delivery(), again.attempt()), (id(1), 2));
    again.failed(refused());
    drop(again);
    finish_grouped(store.arrived(arrival(3)), "other", 200);
    assert_eq!(triggers(&store, 1).await, [Trigger::Live, Trigger::Retry]);
    assert!(store.delivery(id(2)).await.unwrap().is_none());
    assert_eq!(
        store.request(id(2)).await.unwrap().unwrap().body.bytes,
        b"second"[..]
    );
    drop(store);

    // The next day it is still the same, two days later it is not.
    let store = open(folder.path());
    let later = |n, hours: u64| Arrival {
        at: arrival(2).at.plus(Duration::from_secs(hours * 3600)),
        ..arrival(n)
    };
    finish_grouped(store.arrived(later(4, 23)), "evt", 500);
    finish_grouped(store.arrived(later(5, 23 + 25)), "evt", 200);
    let all = store.list(Query::default()).await.unwrap();
    let shape: Vec<_> = all.iter().map(|d| (d.id, d.attempts.len())).collect();
    assert_eq!(shape, [(id(1), 3), (id(3), 1), (id(5), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_arrive_at_once_get_a_number_each() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in 0..10 {
                    finish_grouped(store.arrived(arrival(thread * 10 + n)), "evt", 503);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());

    let all = store.list(Query::default()).await.unwrap();
    assert_eq!(all.len(), 1);
    let numbers: Vec<u32> = all[0].attempts.iter().map(|a| a.n).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    assert!(
        all[0]
            .attempts
            .iter()
            .all(|a| a.outcome.status() == Some(503))
    );
    let (snapshot, _) = store.watch();
    assert_eq!(
        format!("{:?}", snapshot[0].attempts),
        format!("{:?}", all[0].attempts)
    );
}

#[tokio::test]
async fn one_event_id_sent_without_end_does_not_grow_without_end() {
    let store = Store::in_memory(Limits::default());
    for n in 0..250 {
        finish_grouped(store.arrived(arrival(n)), "evt", 200);
    }
    let (snapshot, _) = store.watch();
    let sizes: Vec<usize> = snapshot.iter().map(|d| d.attempts.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[tokio::test]
async fn a_replay_leaves_the_original_and_the_senders_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut recorder = store.arrived(arrival(1));
    let schedule = Some(vec![Duration::from_secs(60)]);
    recorder.request_end(
        vec![],
        BodyEnd::Whole,
        Received {
            schedule,
            ..grouped("evt")
        },
    );
    recorder.failed(refused());
    drop(recorder);
    let before = store.delivery(id(1)).await.unwrap().unwrap();
    let expectation = before.retry;
    assert!(matches!(
        expectation,
        Retry::At {
            number: 1,
            of: 1,
            ..
        }
    ));

    assert!(store.replaying(id(1), id(9), String::new()).is_none());
    assert!(store.replaying(id(9), id(9), String::new()).is_none());
    let mut replay = store
        .replaying(id(1), id(1), String::from("http://localhost:4000"))
        .unwrap();
    assert_eq!((replay.delivery(), replay.attempt()), (id(1), 2));
    replay.response_head(200, String::new(), vec![]);
    replay.response_end(vec![]);
    drop(replay);

    let after = store.delivery(id(1)).await.unwrap().unwrap();
    assert_eq!(triggers(&store, 1).await, [Trigger::Live, Trigger::Replay]);
    assert_eq!(
        format!("{:?}", after.attempts[0]),
        format!("{:?}", before.attempts[0])
    );
    assert_eq!(after.retry, expectation);
    assert_eq!(after.attempts[1].request, id(1));
    assert_eq!(store.response(id(1), 2).await.unwrap().unwrap().status, 200);
    assert!(store.response(id(1), 1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_delivery_too_old_for_memory_can_be_replayed_once_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        in_memory: 2,
        ..Limits::default()
    };
    let store = Store::open(folder.path(), limits).unwrap();
    (1..=4).for_each(|n| finish(store.arrived(arrival(n)), 500));
    assert_eq!(store.watch().0.len(), 2);
    assert!(store.replaying(id(1), id(1), String::new()).is_none());
    let found = store.resolve(id(1).short()).await.unwrap();
    assert_eq!(
        found,
        Resolved::Found {
            delivery: id(1),
            request: id(1)
        }
    );
    let mut replay = store.replaying(id(1), id(1), String::new()).unwrap();
    replay.failed(refused());
    assert_eq!(triggers(&store, 1).await, [Trigger::Live, Trigger::Replay]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_its_changes_leave_no_gap() {
    let store = Store::in_memory(Limits::default());
    let recording = store.clone();
    let thread = std::thread::spawn(move || {
        for n in 0..100 {
            finish_grouped(
                recording.arrived(arrival(n)),
                &format!("evt {}", n / 3),
                200,
            );
        }
    });
    let (snapshot, mut feed) = store.watch();
    let mut seen: BTreeMap<Id, Arc<Delivery>> = snapshot.into_iter().map(|d| (d.id, d)).collect();
    thread.join().unwrap();
    let (wanted, _) = store.watch();
    drop(store);
    loop {
        match feed.next().await {
            Change::Changed(delivery) => {
                seen.insert(delivery.id, delivery);
            }
            Change::Removed(id) => {
                seen.remove(&id);
            }
            Change::Reset => panic!("the feed has room for all of this"),
            Change::Closed => break,
        }
    }
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|d| (d.id, d)).collect();
    assert_eq!(format!("{seen:?}"), format!("{wanted:?}"));
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_to_look_again() {
    let store = Store::in_memory(Limits::default());
    let (_, mut feed) = store.watch();
    (0..2000).for_each(|n| finish(store.arrived(arrival(n)), 200));
    assert!(matches!(feed.next().await, Change::Reset));
}

#[tokio::test]
async fn without_room_the_body_is_dropped_and_the_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        queue_bytes: 8 << 10,
        ..Limits::default()
    };
    let store = Store::open(folder.path(), limits).unwrap();
    let mut recorder = store.arrived(arrival(1));
    recorder.request_body(&Bytes::from(vec![b'x'; 100_000]));
    assert!(recorder.request_kept().1);
    recorder.request_end(vec![], BodyEnd::Whole, Received::unknown());
    recorder.failed(refused());
    drop(recorder);

    let request = store.request(id(1)).await.unwrap().unwrap();
    assert_eq!((request.body.bytes.len(), request.body.len), (0, 100_000));
    assert_eq!(request.fields, arrival(1).fields);
    let attempt = attempt(&store, 1).await;
    assert_eq!(
        attempt.note.as_deref(),
        Some("body not kept: the store could not keep up")
    );
    assert_eq!(store.health(), Health::Recording { dropped: 1 });
}

#[tokio::test]
async fn without_room_for_the_row_it_is_written_from_memory_later() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        queue: 4,
        ..Limits::default()
    };
    let store = Store::open(folder.path(), limits).unwrap();
    let writing = store.writing_connection().unwrap();
    let stalled = writing.lock().unwrap();
    for n in 0..50 {
        finish_grouped(store.arrived(arrival(n)), &format!("evt {}", n / 2), 200);
    }
    drop(stalled);
    let mut all = store.list(Query::default()).await.unwrap();
    let (snapshot, _) = store.watch();
    all.sort_by_key(|d| d.id);
    assert_eq!(format!("{all:?}"), format!("{snapshot:?}"));
    assert_eq!(all.len(), 25);
    assert!(store.health().dropped() > 0);
    assert!(
        all.iter()
            .flat_map(|d| &d.attempts)
            .any(|a| a.note.is_some())
    );
}

#[tokio::test]
async fn bodies_under_way_have_a_limit_together() {
    let store = Store::in_memory(Limits {
        live_bytes: 100,
        ..Limits::default()
    });
    let mut first = store.arrived(arrival(1));
    let mut second = store.arrived(arrival(2));
    first.request_body(&Bytes::from(vec![1; 80]));
    second.request_body(&Bytes::from(vec![2; 80]));
    assert!(!second.request_kept().1);
    drop(second);
    assert!(attempt(&store, 2).await.note.is_some());
    drop(first);
    let mut third = store.arrived(arrival(3));
    third.request_body(&Bytes::from(vec![3; 80]));
    assert!(third.request_kept().1);
}

#[tokio::test]
async fn a_full_disk_stops_the_record_and_room_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    finish(store.arrived(arrival(1)), 200);
    store.flush().await;
    let pages = |limit: i64| {
        let connection = store.writing_connection().unwrap();
        let connection = connection.lock().unwrap();
        let set = |n| connection.pragma_update_and_check(None, "max_page_count", n, |_| Ok(()));
        set(limit).unwrap();
    };
    let mut health = store.health_changes();
    // Never below what the file already has: nothing new fits.
    pages(1);
    for n in 2..=5 {
        let mut recorder = store.arrived(arrival(n));
        recorder.request_body(&Bytes::from(vec![b'x'; 200_000]));
        recorder.request_end(vec![], BodyEnd::Whole, Received::unknown());
        recorder.failed(refused());
    }
    let stopped = tokio::time::timeout(PATIENCE, health.wait_for(|h| h.why().is_some()));
    assert_eq!(stopped.await.unwrap().unwrap().why(), Some("disk full"));
    assert_eq!(store.watch().0.len(), 5);
    assert_eq!(store.list(Query::default()).await.unwrap().len(), 1);
    assert!(store.clear().await.is_err());
    finish(store.arrived(arrival(6)), 200);

    pages(1 << 30);
    let going = tokio::time::timeout(PATIENCE, health.wait_for(|h| h.why().is_none()));
    going.await.unwrap().unwrap();
    let all = store.list(Query::default()).await.unwrap();
    assert_eq!(all.last().unwrap().id, id(6));
    let kept = store.request(id(5)).await.unwrap().unwrap();
    assert_eq!(kept.body.bytes.len(), 200_000);
}

#[tokio::test]
async fn the_oldest_go_first_when_there_are_too_many_or_they_take_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let few = Limits {
        deliveries: 10,
        ..Limits::default()
    };
    let store = Store::open(folder.path(), few).unwrap();
    (0..25).for_each(|n| finish(store.arrived(arrival(n)), 200));
    let ids = |all: Vec<Arc<Delivery>>| all.iter().map(|d| d.id).collect::<Vec<_>>();
    let all = ids(store.list(Query::default()).await.unwrap());
    assert_eq!(all, (15..25).map(id).collect::<Vec<_>>());
    assert_eq!(ids(store.watch().0), all);
    assert!(store.request(id(14)).await.unwrap().is_none());
    drop(store);

    let small = Limits {
        bytes: 2 << 20,
        ..Limits::default()
    };
    let store = Store::open(folder.path(), small).unwrap();
    for n in 30..60 {
        let mut recorder = store.arrived(arrival(n));
        recorder.request_body(&Bytes::from(vec![b'x'; 300_000]));
        drop(recorder);
        store.flush().await;
    }
    let all = ids(store.list(Query::default()).await.unwrap());
    assert!((3..=6).contains(&all.len()), "{all:?}");
    assert_eq!(all.last(), Some(&id(59)));
}

#[tokio::test]
async fn two_processes_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path());
    finish(one.arrived(arrival(1)), 500);
    one.flush().await;
    let two = open(folder.path());
    finish(two.arrived(arrival(2)), 200);
    let pending = two.arrived(arrival(3));
    two.flush().await;

    let seen = one.list(Query::default()).await.unwrap();
    assert_eq!(
        seen.iter().map(|d| d.id).collect::<Vec<_>>(),
        [id(1), id(2), id(3)]
    );
    assert_eq!(
        one.request(id(2)).await.unwrap().unwrap().target,
        "/webhook"
    );

    // Both replay the same delivery, and neither knows of the other's attempt.
    let mut ours = one
        .replaying(id(1), id(1), String::from("http://one"))
        .unwrap();
    let mut theirs = two
        .replaying(id(1), id(1), String::from("http://two"))
        .unwrap();
    ours.failed(refused());
    one.flush().await;
    theirs.response_head(201, String::new(), vec![]);
    theirs.response_end(vec![]);
    let delivery = two.delivery(id(1)).await.unwrap().unwrap();
    let made: Vec<_> = delivery
        .attempts
        .iter()
        .map(|a| (a.n, a.origin.as_str()))
        .collect();
    assert_eq!(made, [(1, ORIGIN), (2, "http://one"), (3, "http://two")]);
    assert_eq!(delivery.attempts[2].outcome.status(), Some(201));
    assert_eq!(one.response(id(1), 3).await.unwrap().unwrap().status, 201);
    drop(pending);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    drop(open(folder.path()));
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(folder.path(), Limits::default()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 99,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_corrupt_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    let store = open(folder.path());
    (0..100).for_each(|n| finish(store.arrived(arrival(n)), 200));
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let mut scratched = whole.clone();
    scratched[4096..].fill(0x5a);
    let damages = [
        b"this is no database, whatever its name".to_vec(),
        scratched,
    ];
    for damage in damages {
        std::fs::write(&file, &damage).unwrap();
        let error = Store::open(folder.path(), Limits::default()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        assert!(error.hint().contains("move it aside"), "{}", error.hint());
        assert_eq!(std::fs::read(&file).unwrap(), damage);
    }
}

#[tokio::test]
async fn flipped_bits_are_an_error_or_a_record_less_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (0..20).for_each(|n| finish_grouped(store.arrived(arrival(n)), &format!("{}", n / 2), 200));
    drop(store);
    let whole = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
    for step in 0..150 {
        let mut flipped = whole.clone();
        let at = step * 7919 % whole.len();
        flipped[at] ^= 1 << (step % 8);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), flipped).unwrap();
        let Ok(store) = Store::open(folder.path(), Limits::default()) else {
            continue;
        };
        finish(store.arrived(arrival(100)), 200);
        let _ = store.list(Query::default()).await;
        for n in 0..20 {
            let _ = store.request(id(n)).await;
            let _ = store.response(id(n), 1).await;
        }
    }
}

#[test]
fn a_folder_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Store::open(&path, Limits::default()).unwrap_err();
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
}

#[tokio::test]
async fn a_damaged_record_is_left_out_and_the_rest_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (1..=3).for_each(|n| finish(store.arrived(arrival(n)), 200));
    store.flush().await;
    let connection = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let damage = "UPDATE attempt SET signature = '{' WHERE request = ?";
    connection.execute(damage, [id(2).as_str()]).unwrap();
    connection
        .execute(
            "UPDATE request SET fields = x'ff' WHERE id = ?",
            [id(2).as_str()],
        )
        .unwrap();
    let all = store.list(Query::default()).await.unwrap();
    assert_eq!(all.iter().map(|d| d.id).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(store.request(id(2)).await.is_err());
    assert!(store.request(id(3)).await.is_ok());
    drop(store);
    assert_eq!(open(folder.path()).watch().0.len(), 2);
}

#[tokio::test]
async fn a_piece_of_an_id_finds_a_request_and_its_delivery() {
    let store = Store::in_memory(Limits::default());
    let named = |text: &str| Arrival {
        id: Id::parse(text).unwrap(),
        ..arrival(0)
    };
    finish_grouped(store.arrived(named("0aaa000000001111")), "evt", 500);
    finish_grouped(store.arrived(named("0aab000000002222")), "evt", 200);
    finish(store.arrived(named("0aac000000003222")), 200);
    let [first, second, third] = ["0aaa000000001111", "0aab000000002222", "0aac000000003222"]
        .map(|text| Id::parse(text).unwrap());
    let found = |delivery, request| Resolved::Found { delivery, request };
    let ambiguous = Resolved::Ambiguous(vec![third, second]);
    for (text, wanted) in [
        ("0aaa000000001111", found(first, first)),
        ("0aab000000002222", found(first, second)),
        ("0aab", found(first, second)),
        ("2222", found(first, second)),
        (" OAAC ", found(third, third)),
        ("IlI1", found(first, first)),
        ("00000000222", Resolved::Unknown),
        ("222", Resolved::Unknown),
        ("0000", Resolved::Unknown),
        ("%%%%", Resolved::Unknown),
        ("", Resolved::Unknown),
    ] {
        assert_eq!(store.resolve(text).await.unwrap(), wanted, "{text}");
    }
    finish(store.arrived(named("0aad000000002222")), 200);
    let Resolved::Ambiguous(some) = store.resolve("2222").await.unwrap() else {
        panic!("two end so");
    };
    assert_eq!(some.len(), 2);
    assert_ne!(Resolved::Ambiguous(some), ambiguous);
}

#[tokio::test]
async fn a_list_takes_the_newest_that_match() {
    let store = Store::in_memory(Limits::default());
    for n in 0..10 {
        let mut recorder = store.arrived(Arrival {
            target: format!("/Hook/{n}"),
            ..arrival(n)
        });
        recorder.request_body(&Bytes::from(format!("{{\"order\":\"A-{n}\"}}")));
        recorder.request_end(vec![], BodyEnd::Whole, Received::unknown());
        recorder.response_head(if n % 2 == 0 { 500 } else { 200 }, String::new(), vec![]);
        recorder.response_end(vec![]);
    }
    let list = async |limit, failed_only, text: Option<&str>| {
        let text = text.map(String::from);
        let query = Query {
            limit,
            failed_only,
            text,
        };
        let found = store.list(query).await.unwrap();
        found.iter().map(|d| d.id).collect::<Vec<_>>()
    };
    assert_eq!(list(3, false, None).await, [id(7), id(8), id(9)]);
    assert_eq!(list(2, true, None).await, [id(6), id(8)]);
    assert_eq!(list(9, false, Some("hook/4")).await, [id(4)]);
    assert_eq!(list(9, false, Some("\"A-5\"")).await, [id(5)]);
    assert_eq!(list(9, true, Some("\"A-5\"")).await, []);
    assert_eq!(list(9, false, Some(id(3).as_str())).await, [id(3)]);
    assert_eq!(list(9, false, Some("%")).await, []);
}

#[tokio::test]
async fn what_is_removed_stays_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (1..=3).for_each(|n| finish(store.arrived(arrival(n)), 200));
    let under_way = store.arrived(arrival(4));
    let (_, mut feed) = store.watch();
    store.remove(&[id(2), id(4), id(99)]).await.unwrap();
    assert!(matches!(feed.next().await, Change::Removed(gone) if gone == id(2)));
    finish(under_way, 200);
    let all = store.list(Query::default()).await.unwrap();
    assert_eq!(all.iter().map(|d| d.id).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(store.request(id(2)).await.unwrap().is_none());

    for all in [false, true] {
        let mut secret = store.arrived(arrival(6));
        secret.request_body(&Bytes::from("a secret ".repeat(100_000)));
        drop(secret);
        store.flush().await;
        let removed = match all {
            true => store.clear().await,
            false => store.remove(&[id(6)]).await,
        };
        removed.unwrap();
        for name in [FILE_NAME, "capture.sqlite3-wal"] {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            assert!(!bytes.windows(8).any(|w| w == b"a secret"), "{name}");
        }
    }
    finish(store.arrived(arrival(5)), 200);
    let all = store.list(Query::default()).await.unwrap();
    assert_eq!(all.iter().map(|d| d.id).collect::<Vec<_>>(), [id(5)]);
    assert_eq!(store.watch().0.len(), 1);
}

#[tokio::test]
async fn a_repeated_id_does_not_touch_the_first_record() {
    let store = Store::in_memory(Limits::default());
    finish(store.arrived(arrival(1)), 200);
    let second = store.arrived(arrival(1));
    assert_ne!(second.delivery(), id(1));
    finish(second, 500);
    assert_eq!(outcome(&store, 1).await.status(), Some(200));
}

#[tokio::test]
#[ignore = "a measurement, not a test: run it in release with --nocapture"]
async fn cost_of_recording() {
    let folder = tempfile::tempdir().unwrap();
    let body = Bytes::from(vec![b'x'; 1024]);
    for paced in [false, true] {
        let store = open(folder.path());
        let (_, _feed) = store.watch();
        let count = 20_000;
        let mut busy = Duration::ZERO;
        let began = std::time::Instant::now();
        for n in 0..count {
            let mut arrival = arrival(n);
            arrival.id = store.fresh_id();
            let one = std::time::Instant::now();
            let mut recorder = store.arrived(arrival);
            recorder.request_body(&body);
            recorder.request_end(vec![], BodyEnd::Whole, Received::unknown());
            recorder.connected();
            recorder.sent();
            recorder.response_head(
                200,
                String::new(),
                vec![field("content-type", b"text/plain")],
            );
            recorder.response_body(&body);
            recorder.response_end(vec![]);
            drop(recorder);
            busy += one.elapsed();
            if paced && n % 100 == 99 {
                store.flush().await;
            }
        }
        let recorded = began.elapsed();
        store.flush().await;
        println!(
            "paced {paced}: {:.2} us each in the recorder, {:.0}/s; {:.0}/s until on disk; {:?}",
            busy.as_secs_f64() * 1e6 / f64::from(count),
            f64::from(count) / recorded.as_secs_f64(),
            f64::from(count) / began.elapsed().as_secs_f64(),
            store.health(),
        );
    }
}

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

const ORIGIN: &str = "http://localhost:3000";

fn open(path: &Path) -> Store {
    Store::open(path, Limits::default()).unwrap()
}

fn id(n: u32) -> Id {
    Id::new(Timestamp(1_700_000_000_000_000), n)
}

fn field(name: &str, value: &[u8]) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(name.as_bytes()),
        Bytes::copy_from_slice(value),
    )
}

fn arrival(n: u32) -> Arrival {
    Arrival {
        id: id(n),
        at: Timestamp(1_700_000_000_000_000 + i64::from(n)),
        endpoint: String::from("brave-otter"),
        public_origin: String::from("https://brave-otter.example.dev"),
        remote: String::from("203.0.113.9:40112"),
        version: "HTTP/1.1",
        method: String::from("POST"),
        target: String::from("/webhook"),
        fields: vec![field("Host", b"brave-otter.example.dev")],
        origin: String::from(ORIGIN),
    }
}

fn grouped(group: &str) -> Received {
    Received {
        group: Some(String::from(group)),
        ..Received::unknown()
    }
}

fn refused() -> Failure {
    Failure {
        status: Some(502),
        cause: String::from("app-refused"),
        why: String::from("nothing listens"),
        may_have_run: false,
    }
}

fn finish(recorder: Recorder, status: u16) {
    finish_as(recorder, Received::unknown(), status);
}

fn finish_grouped(recorder: Recorder, group: &str, status: u16) {
    finish_as(recorder, grouped(group), status);
}

fn finish_as(mut recorder: Recorder, received: Received, status: u16) {
    recorder.request_end(vec![], BodyEnd::Whole, received);
    recorder.response_head(status, String::new(), vec![]);
    recorder.response_end(vec![]);
}

async fn attempt(store: &Store, n: u32) -> Attempt {
    let delivery = store.delivery(id(n)).await.unwrap().unwrap();
    delivery.latest().unwrap().clone()
}

async fn outcome(store: &Store, n: u32) -> Outcome {
    attempt(store, n).await.outcome
}

async fn triggers(store: &Store, n: u32) -> Vec<Trigger> {
    let delivery = store.delivery(id(n)).await.unwrap().unwrap();
    delivery.attempts.iter().map(|a| a.trigger).collect()
}
