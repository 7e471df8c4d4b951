//! The faces without a screen: one line per change for people, one object per line for scripts.

use crate::json;
use crate::status::{State, Status};
use crate::text::{duration, visible};
use capture::{Attempt, Change, Delivery, Feed, Id, Outcome, Store, Timestamp, Trigger};
use signature::Verdict;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::watch;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Plain,
    /// NDJSON.
    Json,
}

/// Deliveries whose lines are remembered, so that none is written twice. Older ones do not change.
const REMEMBERED: usize = 10_000;

/// Writes what happens until the writing fails, which is no error when a pipe was closed, or the
/// store closes.
///
/// # Errors
///
/// When stdout cannot be written for another reason.
pub async fn run(
    style: Style,
    store: Store,
    mut status: watch::Receiver<Status>,
) -> io::Result<()> {
    let (snapshot, mut feed) = store.watch();
    let mut printer = Printer {
        style,
        seen: Seen::default(),
    };
    // What was recorded before is history, not news.
    for delivery in &snapshot {
        for attempt in &delivery.attempts {
            printer.seen.mark(attempt_key(delivery, attempt), 3);
        }
    }
    let mut shown = None;
    printer.status(&status.borrow_and_update().clone(), &mut shown)?;
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = status.borrow_and_update().clone();
                printer.status(&now, &mut shown)?;
            }
            change = feed.next() => match change {
                Change::Changed(delivery) => printer.delivery(&delivery)?,
                Change::Removed(_) => {}
                Change::Reset => feed = reset(&store, &mut printer)?,
                Change::Closed => return Ok(()),
            },
        }
    }
}

fn reset(store: &Store, printer: &mut Printer) -> io::Result<Feed> {
    let (snapshot, feed) = store.watch();
    for delivery in &snapshot {
        printer.delivery(delivery)?;
    }
    Ok(feed)
}

/// A request is named by its id; a replay by its delivery and number.
type Key = (Id, u32);

fn attempt_key(delivery: &Delivery, attempt: &Attempt) -> Key {
    match attempt.trigger {
        Trigger::Replay => (delivery.id, attempt.n),
        _ => (attempt.request, 0),
    }
}

/// How far each attempt's lines are written: 1 the request, 2 its answer too, 3 its failure.
#[derive(Default)]
struct Seen {
    lines: HashMap<Key, u8>,
    order: VecDeque<Key>,
}

impl Seen {
    fn mark(&mut self, key: Key, lines: u8) {
        if self.lines.insert(key, lines).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED * 4
            && let Some(old) = self.order.pop_front()
        {
            self.lines.remove(&old);
        }
    }
}

struct Printer {
    style: Style,
    seen: Seen,
}

impl Printer {
    fn delivery(&mut self, delivery: &Arc<Delivery>) -> io::Result<()> {
        for attempt in &delivery.attempts {
            let key = attempt_key(delivery, attempt);
            let written = self.seen.lines.get(&key).copied().unwrap_or(0);
            let is_replay = attempt.trigger == Trigger::Replay;
            let over = attempt.outcome != Outcome::Pending;
            // The request's line says what is known once its last byte has come.
            let whole = attempt.timing.received.is_some() || over;
            if written < 1 && whole && !is_replay {
                self.line(&json::request_line(delivery, attempt), || {
                    request_text(delivery, attempt)
                })?;
                self.seen.mark(key, 1);
            }
            // An answer that turns out not to have got through is told again, as what it is.
            let told = match attempt.outcome {
                Outcome::Pending => 1,
                Outcome::Answered { .. } => 2,
                Outcome::Failed { .. } => 3,
            };
            if written < told && over {
                self.line(&json::response_line(delivery, attempt), || {
                    response_text(delivery, attempt)
                })?;
                self.seen.mark(key, told);
            }
        }
        Ok(())
    }

    fn status(&mut self, status: &Status, shown: &mut Option<Status>) -> io::Result<()> {
        let before = shown.replace(status.clone());
        let is_new = |get: fn(&Status) -> Option<String>| {
            before
                .as_ref()
                .is_none_or(|before| get(before) != get(status))
        };
        if status.url.is_some() && is_new(|s| s.url.clone()) {
            self.line(&json::tunnel(status), || {
                format!(
                    "{}  {} -> {}{}{}",
                    Timestamp::now().local_clock(),
                    visible(status.url.as_deref().unwrap_or_default()),
                    status.origin,
                    match status.embedded {
                        true => "  (this machine only)",
                        false => "",
                    },
                    match &status.inspector {
                        Some(inspector) => format!("  inspector {inspector}"),
                        None => String::new(),
                    }
                )
            })?;
        }
        let state_changed = is_new(|s| Some(s.state.as_str().to_owned()));
        let reason_changed = is_new(|s| s.reason.clone());
        // A session that moves from TCP up to QUIC stays online.
        let moved = status.transport.is_some() && is_new(|s| s.transport.map(str::to_owned));
        if state_changed || reason_changed || moved {
            self.line(&json::status(status), || status_text(status))?;
        }
        Ok(())
    }

    fn line(&self, value: &serde_json::Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let line = match self.style {
            Style::Json => json::line(value),
            Style::Plain => text(),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }
}

fn status_text(status: &Status) -> String {
    let clock = Timestamp::now().local_clock();
    let mut line = format!("{clock}  {}", status.state.as_str());
    if let (State::Online, Some(transport)) = (&status.state, status.transport) {
        line.push_str(&format!(" over {transport}"));
        if let Some(rtt) = status.rtt {
            line.push_str(&format!(", round trip {:.1} ms", json::ms(rtt)));
        }
    }
    if let Some(reason) = &status.reason {
        line.push_str(&format!(": {}", visible(reason)));
    }
    line
}

/// `14:03:12  3f9k2a  POST /webhook  cloudvno message.delivered  412 B  signature valid`
fn request_text(delivery: &Delivery, attempt: &Attempt) -> String {
    let mut line = format!(
        "{}  {}  {} {}",
        attempt.at.local_clock(),
        attempt.request.short(),
        visible(&delivery.method),
        visible(&delivery.target),
    );
    if let Some(provider) = &delivery.provider {
        line.push_str(&format!("  {}", visible(provider)));
        if let Some(event) = &delivery.event {
            line.push_str(&format!(" {}", visible(event)));
        }
    }
    line.push_str(&format!("  {} B", delivery.bytes));
    line.push_str(&signature_text(attempt));
    line
}

fn signature_text(attempt: &Attempt) -> String {
    let judgement = &attempt.signature;
    if judgement.verdict == Verdict::None {
        return String::new();
    }
    let mut text = format!("  signature {}", judgement.verdict.as_str());
    let hint = judgement.hint.as_ref().map(|hint| &hint.sentence);
    for part in judgement.why.iter().chain(hint) {
        text.push_str(&format!(": {}", visible(part)));
    }
    text
}

/// `14:03:12  3f9k2a  200 in 12.4 ms  (attempt 2, replay)`
fn response_text(delivery: &Delivery, attempt: &Attempt) -> String {
    let mut line = format!(
        "{}  {}  ",
        Timestamp::now().local_clock(),
        attempt.request.short()
    );
    let took = attempt.duration().map(duration).unwrap_or_default();
    match &attempt.outcome {
        Outcome::Pending => {}
        Outcome::Answered { status, .. } => line.push_str(&format!("{status} in {took}")),
        Outcome::Failed {
            status, cause, why, ..
        } => {
            if let Some(status) = status {
                line.push_str(&format!("{status} "));
            }
            line.push_str(&format!("{cause} after {took}: {}", visible(why)));
        }
    }
    if attempt.n > 1 {
        line.push_str(&format!(
            "  (attempt {}, {})",
            attempt.n,
            attempt.trigger.as_str()
        ));
    }
    if let capture::Retry::At { at, number, of } = delivery.retry
        && attempt.trigger != Trigger::Replay
    {
        line.push_str(&format!(
            "  retry {number} of {of} expected at {}",
            at.local_clock()
        ));
    }
    line
}
