//! Stories on the whole screen: pictures, hostile input, sizes, and the real loop.

use super::keys::Message;
use super::model::{Focus, Model, Overlay, Tab, attempt_of};
use super::update::{settle, update};
use super::view;
use super::*;
use crate::status::{State, Status};
use crate::text;
use bytes::Bytes;
use capture::{Attempt, Body, BodyEnd, Outcome, Request, Response, Retry, Timing, Trigger};
use crossterm::event::{KeyCode, KeyModifiers, MouseButton, MouseEventKind};
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use signature::{Hint, Judgement, Verdict};
use std::sync::Mutex;

// Pictures.

#[test]
fn first_page() {
    for size in [SMALL, LARGE] {
        let mut model = model(Vec::new(), size);
        picture("empty", &mut model);
    }
    let mut here = model(Vec::new(), SMALL);
    here.status.embedded = true;
    here.status.url = Some("https://brave-otter.localhost:8443".into());
    here.tips.secrets.clear();
    here.tips.ca = Some("/home/ada/.local/state/adit/ca.pem".into());
    picture("empty-embedded", &mut here);
}

#[test]
fn live_list_with_a_json_request() {
    for size in [SMALL, LARGE] {
        let mut model = model(sample(), size);
        open(&mut model, 2);
        picture("request", &mut model);
    }
}

#[test]
fn split_verdict() {
    for size in [SMALL, LARGE] {
        let mut model = model(sample(), size);
        open(&mut model, 3);
        press(&mut model, "3");
        picture("signature", &mut model);
    }
}

#[test]
fn attempts_with_countdown() {
    for size in [SMALL, LARGE] {
        let mut model = model(sample(), size);
        open(&mut model, 1);
        press(&mut model, "l4");
        picture("attempts", &mut model);
    }
}

#[test]
fn a_refused_connection() {
    let mut model = model(sample(), LARGE);
    open(&mut model, 4);
    press(&mut model, "2");
    picture("response-refused", &mut model);
}

#[test]
fn plan_help_and_copy_menu() {
    let mut planned = model(sample(), SMALL);
    press(&mut planned, "!&");
    picture("plan", &mut planned);
    let mut help = model(sample(), SMALL);
    press(&mut help, "?");
    picture("help", &mut help);
    let mut copying = model(sample(), SMALL);
    press(&mut copying, "y");
    picture("copy", &mut copying);
}

#[test]
fn lost_tunnel() {
    let mut model = model(sample(), SMALL);
    model.status.state = State::Reconnecting {
        tries: 2,
        next_try: model.now.steady + Duration::from_secs(3),
    };
    model.status.reason = Some("relay.example.net does not answer".into());
    model.status.transport = None;
    picture("reconnecting", &mut model);
    let mut small = self::model(sample(), Size::new(44, 10));
    picture("tiny", &mut small);
}

// `update` as tables.

#[test]
fn keys_move_the_selection_and_end_follow() {
    for (keys, selected, follow) in [
        ("", 5, true),
        ("k", 4, false),
        ("kk", 3, false),
        ("kkj", 4, false),
        ("g", 0, false),
        ("gG", 5, false),
        ("j", 5, true),
        ("kF", 5, true),
    ] {
        let mut model = model(sample(), SMALL);
        press(&mut model, keys);
        assert_eq!(model.selected, Some((id(selected), None)), "after {keys:?}");
        assert_eq!(model.follow, follow, "after {keys:?}");
    }
}

#[test]
fn keys_open_tabs_and_panes() {
    for (keys, tab, focus, zoom) in [
        ("2", Tab::Response, Focus::List, false),
        ("]]", Tab::Signature, Focus::List, false),
        ("[", Tab::Attempts, Focus::List, false),
        ("\t", Tab::Request, Focus::Detail, false),
        ("\n\n", Tab::Request, Focus::Detail, true),
        ("\n\n\u{1b}", Tab::Request, Focus::Detail, false),
        ("\n\n\u{1b}\u{1b}", Tab::Request, Focus::List, false),
        ("+", Tab::Request, Focus::Detail, true),
        ("+_", Tab::Request, Focus::Detail, false),
    ] {
        let mut model = model(sample(), SMALL);
        press(&mut model, keys);
        assert_eq!(
            (model.tab, model.focus, model.zoom),
            (tab, focus, zoom),
            "after {keys:?}"
        );
    }
}

#[test]
fn quitting_is_asked_unless_meant() {
    for (keys, quits) in [
        ("q", false),
        ("qn", false),
        ("qy", true),
        ("Q", true),
        ("\tq", false),
        ("\u{3}", false),
        ("\u{3}\u{3}", true),
        ("\u{3}j\u{3}", false),
        ("/q", false),
        ("/\u{3}\u{3}", true),
    ] {
        let mut model = model(sample(), SMALL);
        let effects = press(&mut model, keys);
        assert_eq!(effects.contains(&Effect::Quit), quits, "after {keys:?}");
    }
}

#[test]
fn a_filter_narrows_the_list_as_it_is_typed() {
    for (typed, shown) in [
        ("/charge", vec![1]),
        ("/STRIPE", vec![1, 2]),
        ("/err", vec![4]),
        ("/app", vec![3]),
        ("/post legacy", vec![5]),
        ("/nothing", vec![]),
        ("/nothing\u{1b}", vec![0, 1, 2, 3, 4, 5]),
        ("/stripe\n!", vec![1]),
        ("!", vec![1, 3, 4]),
    ] {
        let mut model = model(sample(), SMALL);
        press(&mut model, typed);
        let ids: Vec<Id> = model.rows.iter().map(|row| row.id).collect();
        assert_eq!(
            ids,
            shown.into_iter().map(id).collect::<Vec<_>>(),
            "after {typed:?}"
        );
    }
}

#[test]
fn a_delivery_sent_again_moves_only_while_following() {
    for (keys, order) in [("", [1, 2, 3, 4, 5, 0]), ("k", [0, 1, 2, 3, 4, 5])] {
        let mut model = model(sample(), SMALL);
        press(&mut model, keys);
        let mut again = sample().remove(0);
        let mut attempt = again.attempts.last().cloned().unwrap();
        attempt.n += 1;
        attempt.trigger = Trigger::Retry;
        again.attempts.push(attempt);
        update(&mut model, Input::Changed(Arc::new(again)));
        settle(&mut model);
        let ids: Vec<Id> = model.rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, order.map(id), "after {keys:?}");
    }
}

#[test]
fn counters_follow_every_change() {
    let mut model = model(sample(), SMALL);
    assert_eq!(model.counts.all, 6);
    assert_eq!(model.counts.failed, 3);
    for delivery in sample() {
        update(&mut model, Input::Changed(Arc::new(delivery)));
    }
    assert_eq!((model.counts.all, model.counts.failed), (6, 3));
    update(&mut model, Input::Removed(id(4)));
    assert_eq!(
        (model.counts.all, model.counts.failed, model.counts.errors),
        (5, 2, 0)
    );
    update(&mut model, Input::Reset(Vec::new()));
    assert_eq!(model.counts, super::model::Counts::default());
    settle(&mut model);
    assert_eq!(model.selected, None);
}

#[test]
fn a_bulk_replay_shows_its_plan_and_then_counts() {
    let mut model = model(sample(), SMALL);
    press(&mut model, "&");
    assert!(matches!(&model.overlay, Some(Overlay::Plan { ids, .. }) if ids.len() == 3));
    let effects = press(&mut model, "y");
    assert_eq!(effects, [Effect::Replay(vec![id(1), id(3), id(4)])]);
    for (n, status) in [(1, 200), (3, 204), (4, 500)] {
        let delivery = replayed(&sample()[n as usize], status);
        let attempt = delivery.attempts.len() as u32;
        // The answer and the change may come in either order.
        let answer = Input::Replayed {
            delivery: id(n),
            result: Ok(attempt),
        };
        let change = Input::Changed(Arc::new(delivery));
        let (first, second) = if n == 3 {
            (change, answer)
        } else {
            (answer, change)
        };
        update(&mut model, first);
        update(&mut model, second);
    }
    let toast = model
        .toast
        .as_ref()
        .map(|toast| toast.text.clone())
        .unwrap_or_default();
    assert_eq!(toast, "replayed 3: 2 accepted, 1 failed");
    assert_eq!(model.counts.failed, 1);
}

#[test]
fn a_replay_under_way_is_not_asked_twice() {
    let mut model = model(sample(), SMALL);
    assert_eq!(press(&mut model, "r"), [Effect::Replay(vec![id(5)])]);
    assert_eq!(press(&mut model, "r"), []);
}

#[test]
fn every_copy_is_what_it_says() {
    for (key, expected) in [
        (
            "u",
            "https://brave-otter.example.dev/webhooks/stripe?src=live",
        ),
        ("b", JSON),
        ("i", "0000000000000002"),
    ] {
        let mut model = model(sample(), SMALL);
        open(&mut model, 2);
        let effects = press(&mut model, &format!("y{key}"));
        assert_eq!(effects, [Effect::Copy(expected.into())]);
    }
    let mut model = model(sample(), SMALL);
    open(&mut model, 2);
    let effects = press(&mut model, "yc");
    let Some(Effect::Copy(curl)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert!(
        curl.starts_with("curl -X 'POST' 'https://brave-otter.example.dev/webhooks"),
        "{curl}"
    );
    assert!(
        curl.contains("-H 'Stripe-Signature: t=1,v1=5257'") && !curl.contains("Host"),
        "{curl}"
    );
}

#[test]
fn a_click_does_what_the_key_does() {
    for (label, expected) in [
        ("[ r Replay ]", Some(Effect::Replay(vec![id(5)]))),
        (
            "https://brave",
            Some(Effect::Copy("https://brave-otter.example.dev".into())),
        ),
    ] {
        let mut model = model(sample(), LARGE);
        let effects = click(&mut model, label);
        assert_eq!(effects.first(), expected.as_ref(), "click on {label}");
    }
    let mut model = model(sample(), LARGE);
    click(&mut model, "[ ! Failed 3 ]");
    assert!(model.only_failed);
    click(&mut model, "3 Sig");
    assert_eq!((model.tab, model.focus), (Tab::Signature, Focus::Detail));
    click(&mut model, "charge.failed");
    assert_eq!(model.selected, Some((id(1), None)));
    click(&mut model, "charge.failed");
    assert!(model.zoom, "the second click opens");
    press(&mut model, "_");
    click(&mut model, "[ & Replay failed ]");
    let effects = click(&mut model, "[ y Replay ]");
    assert_eq!(effects, [Effect::Replay(vec![id(1), id(3), id(4)])]);
}

#[test]
fn the_wheel_scrolls_what_is_under_it() {
    let mut model = model(sample(), SMALL);
    open(&mut model, 2);
    let areas = view::areas(&model);
    let pane = areas.detail.expect("a detail").body;
    let at = |kind, row| {
        Input::Mouse(MouseEvent {
            kind,
            column: 5,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    update(&mut model, at(MouseEventKind::ScrollDown, pane.y));
    assert_eq!((model.scroll, model.cursor), (3, 2));
    update(&mut model, at(MouseEventKind::ScrollUp, 4));
    assert_eq!((model.scroll, model.cursor), (0, 0));
}

#[test]
fn messages_go_away_with_time() {
    let mut model = model(sample(), SMALL);
    update(
        &mut model,
        Input::Notice("the disk is full: recording has stopped".into()),
    );
    assert!(screen(&mut model).contains("recording has stopped"));
    let later = Now {
        steady: model.now.steady + Duration::from_secs(7),
        ..model.now
    };
    update(&mut model, Input::Tick(later));
    assert!(!screen(&mut model).contains("recording has stopped"));
}

#[test]
fn an_answer_that_comes_late_is_read_again() {
    let mut model = model(sample(), SMALL);
    let mut open = sample().remove(5);
    open.id = id(9);
    open.attempts[0].outcome = Outcome::Pending;
    update(&mut model, Input::Changed(Arc::new(open.clone())));
    assert_eq!(
        settle(&mut model),
        [Effect::Load {
            delivery: id(9),
            n: 1
        }]
    );
    update(
        &mut model,
        Input::Loaded {
            delivery: id(9),
            n: 1,
            result: Err("not yet".into()),
        },
    );
    assert_eq!(settle(&mut model), []);
    open.attempts[0].outcome = Outcome::Answered {
        status: 200,
        bytes: 0,
    };
    update(&mut model, Input::Changed(Arc::new(open)));
    assert_eq!(
        settle(&mut model),
        [Effect::Load {
            delivery: id(9),
            n: 1
        }]
    );
}

#[test]
fn the_status_line_never_claims_more_than_is_true() {
    let soon = Instant::now() + Duration::from_secs(60);
    for (state, word) in [
        (State::Connecting, "◌ CONNECTING"),
        (State::Online, "● ONLINE"),
        (
            State::Reconnecting {
                tries: 1,
                next_try: soon,
            },
            "◐ RECONNECT",
        ),
        (State::Draining, "◍ DRAINING"),
        (State::Offline, "○ OFFLINE"),
    ] {
        for size in [SMALL, LARGE, Size::new(44, 10)] {
            let mut model = model(sample(), size);
            model.status.state = state.clone();
            model.status.reason = Some("the relay is gone".into());
            let shown = screen(&mut model);
            assert!(
                shown.starts_with(&format!(" {word}")),
                "{state:?}:\n{shown}"
            );
            let online = state == State::Online;
            assert_eq!(shown.contains("ONLINE"), online, "{state:?}:\n{shown}");
            assert!(
                online || size.width < 60 || shown.contains("the relay is gone"),
                "{shown}"
            );
        }
    }
}

#[test]
fn the_status_cell_says_what_is_known() {
    let failed = |cause: &str, may_have_run| Outcome::Failed {
        status: Some(502),
        cause: cause.into(),
        why: "it failed".into(),
        may_have_run,
    };
    for (outcome, cell) in [
        (Outcome::Pending, "···"),
        (answered(204), "204"),
        (failed("app-refused", false), "ERR"),
        (failed("app-timeout", true), "T/O"),
        (failed("tunnel-lost", true), "???"),
    ] {
        assert_eq!(super::model::status_cell(&outcome), cell);
    }
}

#[test]
fn without_colour_there_is_none() {
    let mut model = model(sample(), LARGE);
    for keys in ["", "3", "4l", "\t", "?", "\u{1b}&"] {
        press(&mut model, keys);
        let backend = TestBackend::new(LARGE.width, LARGE.height);
        let mut terminal = Terminal::new(backend).expect("a test backend");
        terminal
            .draw(|frame| view::draw(&model, frame))
            .expect("a test backend");
        let plain = ratatui::style::Color::Reset;
        let buffer = terminal.backend().buffer();
        assert!(
            buffer
                .content
                .iter()
                .all(|cell| cell.fg == plain && cell.bg == plain)
        );
    }
}

// What strangers send.

#[test]
fn nothing_from_a_request_reaches_the_terminal_unescaped() {
    let evil = "\u{1b}]52;c;aGk=\u{7}\u{9b}2J\u{202e}\u{200b}x\u{301}\u{301}\u{301}\u{301}\r\n\0";
    let mut delivery = sample().remove(3);
    for text in [
        &mut delivery.method,
        &mut delivery.target,
        &mut delivery.remote,
    ] {
        *text = evil.into();
    }
    delivery.provider = Some(evil.into());
    delivery.event = Some(evil.into());
    let attempt = &mut delivery.attempts[0];
    attempt.origin = evil.into();
    attempt.note = Some(evil.into());
    attempt.signature.why = Some(evil.into());
    attempt.signature.hint = Some(Hint {
        code: evil.into(),
        sentence: evil.into(),
    });
    let failed = Outcome::Failed {
        status: None,
        cause: evil.into(),
        why: evil.into(),
        may_have_run: true,
    };
    let mut broken = delivery.clone();
    broken.id = id(7);
    broken.event = None;
    broken.attempts[0].outcome = failed;
    for size in [SMALL, LARGE] {
        let mut model = model(vec![delivery.clone(), broken.clone()], size);
        model.status.url = Some(evil.into());
        model.status.reason = Some(evil.into());
        for of in [id(3), id(7)] {
            let mut bad = detail(of);
            bad.request.method = evil.into();
            bad.request.target = evil.into();
            bad.request.remote = evil.into();
            bad.request.fields = vec![(Bytes::from(evil), Bytes::from(evil))];
            bad.request.body = body(evil.as_bytes());
            bad.request.trailers = bad.request.fields.clone();
            model.begin_load((of, 1));
            model.end_load((of, 1), Ok(Box::new(bad)));
        }
        update(&mut model, Input::Notice(evil.into()));
        for keys in [
            "1", "b", "2", "3", "4", "/\u{1b}", "&", "n", "k1", "2", "3", "4", "y",
        ] {
            press(&mut model, keys);
            let shown = screen(&mut model);
            for c in shown.chars().filter(|c| *c != '\n') {
                assert!(
                    !c.is_control() && !crate::text::is_hidden(c),
                    "{c:?} after {keys}:\n{shown}"
                );
            }
            assert!(!shown.contains("\u{301}\u{301}\u{301}"));
        }
    }
}

#[test]
fn no_size_panics() {
    let heights = [0, 1, 2, 3, 4, 5, 7, 11, 15, 16, 17, 19, 24, 40];
    let widths = [
        0, 1, 2, 3, 5, 8, 20, 33, 44, 59, 60, 61, 80, 99, 100, 110, 200,
    ];
    let sizes = heights
        .into_iter()
        .flat_map(|height| widths.map(|width| Size { width, height }));
    for size in sizes {
        for deliveries in [Vec::new(), sample()] {
            let mut model = model(deliveries, size);
            for keys in [
                "", "4l", "\n", "+", "?G", "\u{1b}&", "ny", "\u{1b}", "_\u{1b}q", "n/xyz",
            ] {
                press(&mut model, keys);
                update(&mut model, Input::Resize(size.width, size.height));
                screen(&mut model);
                let middle = (size.width / 2, size.height / 2);
                let kind = MouseEventKind::ScrollDown;
                let (column, row) = middle;
                update(
                    &mut model,
                    Input::Mouse(MouseEvent {
                        kind,
                        column,
                        row,
                        modifiers: KeyModifiers::NONE,
                    }),
                );
            }
        }
    }
}

// The real loop.

#[tokio::test]
async fn a_story_through_the_real_loop() {
    let story = Story::begin(Vec::new());
    story.sees("Paste this at the provider").await;
    story.changed(sample().remove(4));
    story.sees("user.created").await;
    story.keys("r");
    story.sees("replayed 000004: 200 in 12 ms").await;
    story.changed(sample().remove(1));
    story.changed(sample().remove(3));
    story.sees("orders/create").await;
    story.keys("!");
    story.sees("2 of 3 shown").await;
    story.keys("&");
    story
        .sees("Replay 2 failed deliveries to http://localhost:3000?")
        .await;
    story.keys("y");
    story.sees("replayed 2: all accepted").await;
    story.keys("!ggyi");
    story.sees("copied the id").await;
    story.keys("Q");
    let world = story.ends().await;
    assert_eq!(world.replayed, [id(4), id(1), id(3)]);
    assert_eq!(world.copied, ["0000000000000004"]);
}

#[tokio::test]
async fn ten_thousand_changes_are_taken_and_keys_still_work() {
    let story = Story::begin(Vec::new());
    for n in 0..10_000 {
        let mut delivery = sample().remove(0);
        delivery.id = id(n);
        story
            .feed
            .send(Input::Changed(Arc::new(delivery)))
            .await
            .expect("the loop runs");
    }
    story.sees("10000 req").await;
    story.keys("g/00000042\n");
    story.sees("1 of 10000 shown").await;
    story.feed.send(Input::Stop).await.expect("the loop runs");
    story.ends().await;
}

#[tokio::test]
async fn a_bulk_replay_is_no_storm() {
    let mut deliveries = Vec::new();
    for n in 0..20 {
        let mut delivery = sample().remove(4);
        delivery.id = id(n);
        deliveries.push(delivery);
    }
    let story = Story::begin_with(deliveries, App::Silent);
    story.keys("&");
    story.sees("Replay 20 failed deliveries").await;
    story.keys("y");
    story.sees("replaying 20 deliveries").await;
    story.keys("Q");
    assert_eq!(story.ends().await.replayed.len(), 4);
}

#[tokio::test]
async fn a_terminal_that_goes_away_ends_the_loop() {
    let story = Story::begin(sample());
    drop(story.keyboard);
    story.task.await.expect("no panic").expect("no error");
}

// The stage.

const SMALL: Size = Size {
    width: 80,
    height: 24,
};
const LARGE: Size = Size {
    width: 120,
    height: 40,
};
const JSON: &str = r#"{"id":"evt_1QxA","type":"charge.failed","data":{"object":{"amount":4900,"currency":"eur","failure_code":"card_declined","refunds":[],"paid":false}},"url":"https:\/\/api.example.com\/v1"}"#;
/// 2026-11-25T14:04:42Z.
const NOW: Timestamp = Timestamp(1_795_615_482_000_000);

fn id(n: u32) -> Id {
    Id::parse(&format!("{n:016}")).expect("digits are in the alphabet")
}

fn utc(at: Timestamp) -> String {
    at.rfc3339().get(11..19).unwrap_or_default().to_owned()
}

fn model(deliveries: Vec<Delivery>, size: Size) -> Model {
    let now = Now {
        wall: NOW,
        steady: Instant::now(),
    };
    let mut model = Model::new(start(deliveries), now, size);
    model.clock = utc;
    settle_all(&mut model);
    model
}

fn start(deliveries: Vec<Delivery>) -> Start {
    Start {
        status: Status {
            state: State::Online,
            reason: None,
            name: Some("brave-otter".into()),
            url: Some("https://brave-otter.example.dev".into()),
            origin: "http://localhost:3000".into(),
            inspector: None,
            transport: Some("quic"),
            rtt: Some(Duration::from_millis(38)),
            since: Instant::now(),
            reconnects: 0,
            embedded: false,
        },
        deliveries: deliveries.into_iter().map(Arc::new).collect(),
        tips: Tips {
            secrets: vec!["cloudvno".into()],
            path: "/webhook".into(),
            send: Some("client send cloudvno message.received".into()),
            ca: None,
        },
        color: false,
    }
}

fn judged(verdict: Verdict, provider: &str, why: Option<&str>) -> Judgement {
    Judgement {
        verdict,
        provider: Some(provider.into()),
        why: why.map(String::from),
        secret: matches!(verdict, Verdict::Valid | Verdict::Stale).then_some(1),
        ..Judgement::none()
    }
}

fn attempt(n: u32, of: u32, ago: u64, ms: u64, outcome: Outcome, signature: Judgement) -> Attempt {
    let at = |ms| Some(Duration::from_micros(ms));
    Attempt {
        n,
        request: id(of),
        trigger: Trigger::Live,
        at: Timestamp(NOW.0 - (ago * 1_000_000) as i64),
        origin: "http://localhost:3000".into(),
        signature,
        outcome,
        timing: Timing {
            received: at(300),
            connected: at(900),
            sent: at(1_000),
            head: at(ms * 1_000 - 800),
            done: at(ms * 1_000),
        },
        note: None,
    }
}

fn delivery(
    n: u32,
    provider: Option<&str>,
    event: Option<&str>,
    target: &str,
    attempts: Vec<Attempt>,
) -> Delivery {
    Delivery {
        id: id(n),
        at: attempts[0].at,
        endpoint: "brave-otter".into(),
        provider: provider.map(String::from),
        event: event.map(String::from),
        method: "POST".into(),
        target: target.into(),
        remote: "203.0.113.9:40112".into(),
        bytes: 1_912,
        attempts,
        retry: Retry::NotDue,
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, bytes: 21 }
}

fn sample() -> Vec<Delivery> {
    let ok = |provider| judged(Verdict::Valid, provider, None);
    let mut paid = delivery(
        0,
        Some("cloudvno"),
        Some("message.received"),
        "/webhook",
        vec![attempt(1, 0, 90, 41, answered(200), ok("cloudvno"))],
    );
    paid.retry = Retry::NotDue;
    let mut charge = delivery(
        1,
        Some("stripe"),
        Some("charge.failed"),
        "/webhooks/stripe",
        vec![
            attempt(1, 1, 61, 190, answered(500), ok("stripe")),
            Attempt {
                trigger: Trigger::Retry,
                ..attempt(2, 1, 22, 212, answered(500), ok("stripe"))
            },
        ],
    );
    charge.retry = Retry::At {
        at: NOW.plus(Duration::from_secs(298)),
        number: 2,
        of: 8,
    };
    let old = judged(
        Verdict::Stale,
        "github",
        Some("the timestamp is 412 s old; github allows 300 s"),
    );
    let pull = delivery(
        2,
        Some("github"),
        Some("pull_request.opened"),
        "/webhooks/stripe?src=live",
        vec![attempt(1, 2, 20, 1_312, answered(201), old)],
    );
    let mut orders = delivery(
        3,
        Some("shopify"),
        Some("orders/create"),
        "/hooks/shopify",
        vec![attempt(1, 3, 15, 12, answered(401), ok("shopify"))],
    );
    orders.retry = Retry::At {
        at: NOW.plus(Duration::from_secs(225)),
        number: 1,
        of: 8,
    };
    let refused = Outcome::Failed {
        status: Some(502),
        cause: "app-refused".into(),
        why: "nothing listens on localhost:3000".into(),
        may_have_run: false,
    };
    let bad = judged(
        Verdict::Invalid,
        "svix",
        Some("the MAC does not match any of 2 secrets (svix-signature)"),
    );
    let mut user = delivery(
        4,
        Some("svix"),
        Some("user.created"),
        "/svix",
        vec![attempt(1, 4, 8, 2, refused, bad)],
    );
    user.retry = Retry::Exhausted;
    let mut legacy = delivery(
        5,
        None,
        None,
        "/hooks/legacy",
        vec![attempt(1, 5, 1, 17, answered(200), Judgement::none())],
    );
    legacy.retry = Retry::Unknown;
    vec![paid, charge, pull, orders, user, legacy]
}

fn replayed(delivery: &Delivery, status: u16) -> Delivery {
    let mut delivery = delivery.clone();
    let judgement = delivery.attempts[0].signature.clone();
    let n = delivery.attempts.len() as u32 + 1;
    let again = attempt(n, 0, 0, 12, answered(status), judgement);
    delivery.attempts.push(Attempt {
        trigger: Trigger::Replay,
        ..again
    });
    delivery
}

fn body(bytes: &[u8]) -> Body {
    Body {
        bytes: Bytes::copy_from_slice(bytes),
        len: bytes.len() as u64,
        end: BodyEnd::Whole,
    }
}

fn detail(of: Id) -> Detail {
    let fields = |list: &[(&'static str, &'static str)]| {
        list.iter()
            .map(|(n, v)| (Bytes::from(*n), Bytes::from(*v)))
            .collect()
    };
    Detail {
        request: Request {
            id: of,
            at: Timestamp(NOW.0 - 20_000_000),
            endpoint: "brave-otter".into(),
            public_origin: "https://brave-otter.example.dev".into(),
            remote: "203.0.113.9:40112".into(),
            version: "HTTP/1.1",
            method: "POST".into(),
            target: "/webhooks/stripe?src=live".into(),
            fields: fields(&[
                ("Host", "brave-otter.example.dev"),
                (
                    "User-Agent",
                    "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                ),
                ("content-type", "application/json; charset=utf-8"),
                ("Stripe-Signature", "t=1,v1=5257"),
                ("Content-Length", "193"),
            ]),
            body: body(JSON.as_bytes()),
            trailers: Vec::new(),
            signature: Judgement::none(),
        },
        response: (of != id(4)).then(|| Response {
            status: 201,
            reason: "Created".into(),
            fields: fields(&[("Content-Type", "text/plain"), ("X-Powered-By", "Express")]),
            body: body(b"thank you, come again"),
            trailers: Vec::new(),
        }),
    }
}

/// Settles, and answers every load.
fn settle_all(model: &mut Model) {
    for effect in settle(model) {
        if let Effect::Load { delivery, n } = effect {
            update(
                model,
                Input::Loaded {
                    delivery,
                    n,
                    result: Ok(Box::new(detail(delivery))),
                },
            );
        }
    }
    settle(model);
}

fn key_event(c: char) -> KeyEvent {
    let (code, modifiers) = match c {
        '\n' => (KeyCode::Enter, KeyModifiers::NONE),
        '\t' => (KeyCode::Tab, KeyModifiers::NONE),
        '\u{1b}' => (KeyCode::Esc, KeyModifiers::NONE),
        '\u{3}' => (KeyCode::Char('c'), KeyModifiers::CONTROL),
        c => (KeyCode::Char(c), KeyModifiers::NONE),
    };
    KeyEvent::new(code, modifiers)
}

/// Presses one key after the other; what they asked for, loads left out.
fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        effects.extend(update(model, Input::Key(key_event(c))));
        settle_all(model);
    }
    effects
}

fn open(model: &mut Model, row: usize) {
    press(model, "g");
    press(model, &"j".repeat(row));
}

/// Clicks on the first place where `label` stands.
fn click(model: &mut Model, label: &str) -> Vec<Effect> {
    let shown = screen(model);
    let (row, line) = shown
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(label))
        .unwrap_or_else(|| panic!("{label} is not on the screen:\n{shown}"));
    let column = text::width(&line[..line.find(label).unwrap_or(0)]) as u16 + 1;
    let kind = MouseEventKind::Down(MouseButton::Left);
    let event = MouseEvent {
        kind,
        column,
        row: row as u16,
        modifiers: KeyModifiers::NONE,
    };
    let effects = update(model, Input::Mouse(event));
    settle_all(model);
    effects
}

/// The screen as text, one line a row, nothing at the ends of lines.
fn screen(model: &mut Model) -> String {
    settle_all(model);
    let backend = TestBackend::new(model.size.width, model.size.height);
    let mut terminal = Terminal::new(backend).expect("a test backend");
    terminal
        .draw(|frame| view::draw(model, frame))
        .expect("a test backend");
    text_of(terminal.backend())
}

fn text_of(backend: &TestBackend) -> String {
    let buffer = backend.buffer();
    let width = usize::from(buffer.area.width).max(1);
    let mut out = String::new();
    for row in buffer.content.chunks(width) {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            covered = text::width(cell.symbol()).saturating_sub(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Compares the screen with its picture in `snapshots/`. `UPDATE_SNAPSHOTS=1` takes new ones.
fn picture(name: &str, model: &mut Model) {
    let shown = screen(model);
    let Size { width, height } = model.size;
    let path = std::path::Path::new(file!());
    let folder = path.parent().expect("a folder").join("snapshots");
    // `file!` is relative to the workspace, tests run in the package.
    let folder = [std::path::PathBuf::new(), "..".into()]
        .into_iter()
        .map(|up| up.join(&folder))
        .find(|folder| folder.is_dir())
        .expect("the snapshots' folder");
    let path = folder.join(format!("{name}-{width}x{height}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &shown).expect("a snapshot can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "\n{shown}\nis not {}", path.display());
}

/// What the fake rest of the program did.
#[derive(Clone, Debug, Default)]
struct World {
    replayed: Vec<Id>,
    copied: Vec<String>,
}

/// What the app behind the backend does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum App {
    /// Accepts everything in 12 ms.
    Accepts,
    /// Never answers.
    Silent,
}

/// The rest of the program.
struct Fake {
    app: App,
    feed: mpsc::Sender<Input>,
    world: Arc<Mutex<World>>,
}

impl Backend for Fake {
    fn load(&self, delivery: Id, _: u32) -> Answer<Detail> {
        Box::pin(async move { Ok(detail(delivery)) })
    }

    fn replay(&self, of: Id) -> Answer<u32> {
        self.world.lock().expect("no panic").replayed.push(of);
        if self.app == App::Silent {
            return Box::pin(std::future::pending());
        }
        let feed = self.feed.clone();
        Box::pin(async move {
            let before = sample()
                .into_iter()
                .find(|d| d.id == of)
                .ok_or("it is gone")?;
            let after = replayed(&before, 200);
            let n = after.attempts.len() as u32;
            assert!(attempt_of(&after, n).is_some());
            feed.send(Input::Changed(Arc::new(after)))
                .await
                .map_err(|_| "the end")?;
            Ok(n)
        })
    }

    fn copy(&self, text: &str) -> io::Result<()> {
        self.world
            .lock()
            .expect("no panic")
            .copied
            .push(text.to_owned());
        Ok(())
    }

    fn mouse(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// A test backend whose picture can be looked at from outside.
struct Shared {
    inner: TestBackend,
    shown: tokio::sync::watch::Sender<String>,
}

impl ratatui::backend::Backend for Shared {
    type Error = std::convert::Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Self::Error>
    where
        I: Iterator<Item = (u16, u16, &'a ratatui::buffer::Cell)>,
    {
        self.inner.draw(content)
    }

    fn hide_cursor(&mut self) -> Result<(), Self::Error> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> Result<(), Self::Error> {
        self.inner.show_cursor()
    }

    fn get_cursor_position(&mut self) -> Result<ratatui::layout::Position, Self::Error> {
        self.inner.get_cursor_position()
    }

    fn set_cursor_position<P: Into<ratatui::layout::Position>>(
        &mut self,
        at: P,
    ) -> Result<(), Self::Error> {
        self.inner.set_cursor_position(at)
    }

    fn clear(&mut self) -> Result<(), Self::Error> {
        self.inner.clear()
    }

    fn clear_region(&mut self, clear: ratatui::backend::ClearType) -> Result<(), Self::Error> {
        self.inner.clear_region(clear)
    }

    fn size(&self) -> Result<Size, Self::Error> {
        self.inner.size()
    }

    fn window_size(&mut self) -> Result<ratatui::backend::WindowSize, Self::Error> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.shown.send_replace(text_of(&self.inner));
        self.inner.flush()
    }
}

/// A running loop, its keyboard and its screen.
struct Story {
    keyboard: mpsc::Sender<io::Result<Event>>,
    feed: mpsc::Sender<Input>,
    shown: tokio::sync::watch::Receiver<String>,
    world: Arc<Mutex<World>>,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Story {
    fn begin(deliveries: Vec<Delivery>) -> Story {
        Story::begin_with(deliveries, App::Accepts)
    }

    fn begin_with(deliveries: Vec<Delivery>, app: App) -> Story {
        let (keyboard, mut pressed) = mpsc::channel(1_024);
        let (feed, inputs) = mpsc::channel(1_024);
        let (sender, shown) = tokio::sync::watch::channel(String::new());
        let world = Arc::new(Mutex::new(World::default()));
        let backend = Arc::new(Fake {
            app,
            feed: feed.clone(),
            world: world.clone(),
        });
        let inner = TestBackend::new(SMALL.width, SMALL.height);
        let terminal = Terminal::new(Shared {
            inner,
            shown: sender,
        })
        .expect("a test backend");
        let events = futures_util::stream::poll_fn(move |cx| pressed.poll_recv(cx));
        let task = tokio::spawn(run(events, inputs, backend, start(deliveries), terminal));
        Story {
            keyboard,
            feed,
            shown,
            world,
            task,
        }
    }

    fn keys(&self, keys: &str) {
        for c in keys.chars() {
            self.keyboard
                .try_send(Ok(Event::Key(key_event(c))))
                .expect("the loop runs");
        }
    }

    fn changed(&self, delivery: Delivery) {
        self.feed
            .try_send(Input::Changed(Arc::new(delivery)))
            .expect("the loop runs");
    }

    /// Waits until `text` stands on the screen.
    async fn sees(&self, text: &str) {
        let mut shown = self.shown.clone();
        let wait = shown.wait_for(|screen| screen.contains(text));
        let seen = tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .is_ok();
        assert!(seen, "{text:?} never came:\n{}", *self.shown.borrow());
    }

    async fn ends(self) -> World {
        let end = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        end.expect("it ends").expect("no panic").expect("no error");
        self.world.lock().expect("no panic").clone()
    }
}

#[test]
fn every_message_of_a_button_has_a_key() {
    for message in [
        Message::Replay,
        Message::OnlyFailed,
        Message::ReplayFailed,
        Message::CopyMenu,
    ] {
        assert_ne!(super::keys::shown(super::keys::When::Main, message), "");
    }
}
