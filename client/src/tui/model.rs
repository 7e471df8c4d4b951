//! What the terminal knows: the deliveries, what is selected, what is open.
//!
//! `update` changes it, `view` reads it, nothing else touches it. Deliveries stand in the order
//! in which they came; a delivery that is sent again moves to the end only while FOLLOW is on, so
//! nothing moves under a reader's eyes.

use super::{Detail, Start, Tips};
use crate::status::{State, Status};
use crate::text;
use capture::{Attempt, Delivery, Id, Outcome, Retry, Timestamp, Trigger};
use ratatui::layout::{Position, Size};
use ratatui::text::Line;
use signature::{Judgement, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Deliveries kept in the list: what one frame can filter in a few milliseconds. Older ones stay
/// in the store.
pub(super) const DELIVERIES: usize = 10_000;
/// Answer times behind p50 and p95.
pub(super) const RECENT: usize = 200;
/// Exact requests and answers kept in memory, so that going back to one needs no load.
const DETAILS: usize = 24;
/// How long a message stays.
pub(super) const TOAST: Duration = Duration::from_secs(6);

/// The moment of an update, on both clocks. Carried by [`super::Input::Tick`]; nobody asks a clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what people read and what providers promise.
    pub wall: Timestamp,
    /// For how long ago.
    pub steady: Instant,
}

/// A tab of the detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tab {
    Request,
    Response,
    Signature,
    Attempts,
}

impl Tab {
    /// In the order of the screen.
    pub(super) const ALL: [Tab; 4] = [Tab::Request, Tab::Response, Tab::Signature, Tab::Attempts];

    /// The tab `step` to the right, around the corner.
    pub(super) fn step(self, step: usize) -> Tab {
        let at = Tab::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        *Tab::ALL.get((at + step) % Tab::ALL.len()).unwrap_or(&self)
    }
}

/// Which pane the keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    List,
    Detail,
}

/// What stands over the panes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help {
        scroll: usize,
    },
    Copy,
    Quit,
    /// Bulk replay, before it happens.
    Plan {
        ids: Vec<Id>,
        scroll: usize,
    },
}

/// A row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub id: Id,
    /// `None` for the delivery itself, else one of its attempts.
    pub attempt: Option<u32>,
    /// The last child of its delivery.
    pub last: bool,
}

/// How a toast is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Bad,
    Plain,
}

/// A message that goes away by itself.
#[derive(Clone, Debug)]
pub(super) struct Toast {
    pub text: String,
    pub mood: Mood,
    pub until: Instant,
}

/// The exact bytes of one attempt, or the way there.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// What was loaded last.
    pub result: Option<Result<Arc<Detail>, String>>,
    /// A load is under way.
    pub loading: bool,
    /// The attempt has changed since.
    pub stale: bool,
    /// Counts loads, so that a page knows when it is old.
    pub version: u64,
}

/// The lines of the open tab, laid out for one width.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub lines: Vec<Line<'static>>,
    pub key: Option<PageKey>,
}

/// What a page of exact bytes was made from; the same key gives the same page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageKey {
    pub id: Id,
    pub n: u32,
    pub tab: Tab,
    pub exact: bool,
    pub width: u16,
    pub short: bool,
    pub version: u64,
}

/// Deliveries by what their status cell shows. They add up to `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub all: usize,
    pub pending: usize,
    /// By hundreds: 1xx to 5xx.
    pub classes: [usize; 5],
    /// Not answered by the app.
    pub errors: usize,
    /// 4xx, 5xx and errors.
    pub failed: usize,
}

/// Replays asked for together.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub total: usize,
    pub done: usize,
    pub good: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Model {
    pub status: Status,
    pub tips: Tips,
    pub color: bool,
    /// Shows a moment as a clock would here.
    pub clock: fn(Timestamp) -> String,
    pub now: Now,
    pub size: Size,

    deliveries: BTreeMap<u64, Arc<Delivery>>,
    places: HashMap<Id, u64>,
    next_place: u64,
    pub counts: Counts,
    recent: VecDeque<Duration>,
    /// Arrivals by second, of the last minute: `(second, count)` at `second % 60`.
    arrivals: [(i64, u32); 60],

    pub rows: Vec<Row>,
    pub rows_stale: bool,
    /// The selected row's place in `rows`.
    pub cursor: usize,
    pub selected: Option<(Id, Option<u32>)>,
    /// The first row on the screen.
    pub top: usize,
    pub unfolded: HashSet<Id>,
    pub follow: bool,
    pub only_failed: bool,
    pub filter: String,
    pub typing: bool,

    pub focus: Focus,
    pub zoom: bool,
    pub tab: Tab,
    pub exact: bool,
    pub scroll: usize,
    pub page: Page,
    pub details: HashMap<(Id, u32), Slot>,
    version: u64,

    pub overlay: Option<Overlay>,
    pub toast: Option<Toast>,
    /// Replays under way: the attempt's number, once it is known.
    pub replaying: HashMap<Id, Option<u32>>,
    pub batch: Batch,
    pub mouse: bool,
    pub last_click: Option<(Position, Instant)>,
    /// Ctrl-c was pressed; again before this moment it quits.
    pub interrupt: Option<Instant>,
    /// Something on the screen may have changed since the last frame.
    pub dirty: bool,
}

impl Model {
    /// The screen of a program that has just begun.
    pub(super) fn new(start: Start, now: Now, size: Size) -> Model {
        let mut model = Model {
            status: start.status,
            tips: start.tips,
            color: start.color,
            clock: Timestamp::local_clock,
            now,
            size,
            deliveries: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
            counts: Counts::default(),
            recent: VecDeque::new(),
            arrivals: [(0, 0); 60],
            rows: Vec::new(),
            rows_stale: true,
            cursor: 0,
            selected: None,
            top: 0,
            unfolded: HashSet::new(),
            follow: true,
            only_failed: false,
            filter: String::new(),
            typing: false,
            focus: Focus::List,
            zoom: false,
            tab: Tab::Request,
            exact: false,
            scroll: 0,
            page: Page::default(),
            details: HashMap::new(),
            version: 0,
            overlay: None,
            toast: None,
            replaying: HashMap::new(),
            batch: Batch::default(),
            mouse: true,
            last_click: None,
            interrupt: None,
            dirty: true,
        };
        for delivery in start.deliveries {
            model.put(delivery);
        }
        model
    }

    /// Takes over what a delivery has become.
    pub(super) fn put(&mut self, delivery: Arc<Delivery>) {
        self.rows_stale = true;
        let id = delivery.id;
        match self.places.get(&id).copied() {
            Some(place) => {
                let old = self.deliveries.insert(place, delivery.clone());
                if let Some(old) = &old {
                    self.count(old, false);
                }
                self.learn(old.as_deref(), &delivery);
                let again = old.is_some_and(|old| old.attempts.len() < delivery.attempts.len())
                    && delivery
                        .latest()
                        .is_some_and(|a| a.trigger != Trigger::Replay);
                if again && self.follow {
                    self.deliveries.remove(&place);
                    self.append(delivery.clone());
                }
            }
            None => {
                self.learn(None, &delivery);
                self.append(delivery.clone());
                if self.places.len() > DELIVERIES
                    && let Some(oldest) = self.deliveries.values().next().map(|d| d.id)
                {
                    self.remove(oldest);
                }
            }
        }
        self.count(&delivery, true);
    }

    /// Forgets a delivery.
    pub(super) fn remove(&mut self, id: Id) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if let Some(old) = self.deliveries.remove(&place) {
            self.count(&old, false);
        }
        self.unfolded.remove(&id);
        self.replaying.remove(&id);
        self.details.retain(|(of, _), _| *of != id);
        self.rows_stale = true;
    }

    /// Starts over with these deliveries.
    pub(super) fn reset(&mut self, deliveries: Vec<Arc<Delivery>>) {
        self.deliveries.clear();
        self.places.clear();
        self.counts = Counts::default();
        self.recent.clear();
        self.arrivals = [(0, 0); 60];
        self.details.clear();
        for delivery in deliveries {
            self.put(delivery);
        }
        self.rows_stale = true;
    }

    fn append(&mut self, delivery: Arc<Delivery>) {
        self.places.insert(delivery.id, self.next_place);
        self.deliveries.insert(self.next_place, delivery);
        self.next_place += 1;
    }

    fn count(&mut self, delivery: &Delivery, add: bool) {
        let step = |n: &mut usize| *n = if add { *n + 1 } else { n.saturating_sub(1) };
        let counts = &mut self.counts;
        step(&mut counts.all);
        match delivery.latest().map(|a| &a.outcome) {
            Some(Outcome::Answered { status, .. }) => {
                let class = usize::from(status / 100).clamp(1, 5) - 1;
                if let Some(n) = counts.classes.get_mut(class) {
                    step(n);
                }
            }
            Some(Outcome::Failed { .. }) => step(&mut counts.errors),
            Some(Outcome::Pending) | None => step(&mut counts.pending),
        }
        if delivery.is_failed() {
            step(&mut counts.failed);
        }
    }

    /// Arrivals and answer times that are new in `delivery`; marks changed details as stale.
    fn learn(&mut self, old: Option<&Delivery>, delivery: &Delivery) {
        for attempt in &delivery.attempts {
            let before = old.and_then(|old| attempt_of(old, attempt.n));
            if before.is_none() && attempt.trigger != Trigger::Replay {
                let second = attempt.at.unix_seconds();
                if let Some(slot) = self.arrivals.get_mut(second.rem_euclid(60) as usize) {
                    *slot = match *slot {
                        (at, n) if at == second => (at, n.saturating_add(1)),
                        (at, _) if at < second => (second, 1),
                        newer => newer,
                    };
                }
            }
            let was_open = before.is_none_or(|b| b.outcome == Outcome::Pending);
            if was_open
                && matches!(attempt.outcome, Outcome::Answered { .. })
                && let Some(took) = attempt.duration()
            {
                self.recent.push_back(took);
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
            }
            if before.is_some_and(|b| b.outcome != attempt.outcome)
                && let Some(slot) = self.details.get_mut(&(delivery.id, attempt.n))
            {
                slot.stale = true;
            }
        }
    }

    /// Says something for a few seconds.
    pub(super) fn say(&mut self, mood: Mood, text: impl Into<String>) {
        let text: String = text.into();
        self.toast = Some(Toast {
            text: text::visible(&text).into_owned(),
            mood,
            until: self.now.steady + TOAST,
        });
    }

    /// Selects a row; `Some(n)` is an attempt of its delivery.
    pub(super) fn select(&mut self, id: Id, attempt: Option<u32>) {
        if self.selected != Some((id, attempt)) {
            self.selected = Some((id, attempt));
            self.scroll = 0;
        }
        if let Some(cursor) = self.row_of(id, attempt) {
            self.cursor = cursor;
        }
    }

    /// Selects the row at `cursor`, or the last one.
    pub(super) fn select_at(&mut self, cursor: usize) {
        let cursor = cursor.min(self.rows.len().saturating_sub(1));
        match self.rows.get(cursor).copied() {
            Some(row) => self.select(row.id, row.attempt),
            None => {
                self.selected = None;
                self.cursor = 0;
            }
        }
    }

    /// Brings `rows`, and the selection in them, in line with the deliveries.
    pub(super) fn refresh_rows(&mut self) {
        if !std::mem::take(&mut self.rows_stale) {
            return;
        }
        let needle = self.filter.to_lowercase();
        let words: Vec<&str> = needle.split_whitespace().collect();
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        for delivery in self.deliveries.values() {
            if self.only_failed && !delivery.is_failed() {
                continue;
            }
            if !words.is_empty() && !words.iter().all(|word| matches(delivery, word)) {
                continue;
            }
            rows.push(Row {
                id: delivery.id,
                attempt: None,
                last: false,
            });
            if self.unfolded.contains(&delivery.id) {
                let newest = delivery.latest().map(|a| a.n);
                rows.extend(delivery.attempts.iter().map(|a| Row {
                    id: delivery.id,
                    attempt: Some(a.n),
                    last: Some(a.n) == newest,
                }));
            }
        }
        self.rows = rows;
        if self.follow {
            let newest = self.rows.iter().rposition(|row| row.attempt.is_none());
            let child = self.selected.and_then(|(id, n)| n.map(|_| id));
            // A child of the newest delivery may stay selected.
            if let Some(newest) = newest
                && child != self.rows.get(newest).map(|row| row.id)
            {
                self.select_at(newest);
            }
        }
        match self.selected.and_then(|(id, n)| self.row_of(id, n)) {
            Some(cursor) => self.cursor = cursor,
            // After a list without rows there is no place to keep: the newest comes first.
            None if self.selected.is_none() => {
                let newest = self.rows.iter().rposition(|row| row.attempt.is_none());
                self.select_at(newest.unwrap_or(0));
            }
            None => self.select_at(self.cursor),
        }
    }

    fn row_of(&self, id: Id, attempt: Option<u32>) -> Option<usize> {
        let same = |row: &Row| row.id == id && row.attempt == attempt;
        if self.rows.get(self.cursor).is_some_and(same) {
            return Some(self.cursor);
        }
        self.rows.iter().rposition(same)
    }

    /// Notes that a load has begun, and makes room for what it brings.
    pub(super) fn begin_load(&mut self, key: (Id, u32)) {
        if self.details.len() >= DETAILS {
            self.details
                .retain(|other, slot| *other == key || slot.loading);
        }
        let slot = self.details.entry(key).or_insert(Slot {
            result: None,
            loading: false,
            stale: false,
            version: 0,
        });
        slot.loading = true;
        slot.stale = false;
    }

    /// Takes over what a load brought.
    pub(super) fn end_load(&mut self, key: (Id, u32), result: Result<Box<Detail>, String>) {
        self.version += 1;
        let version = self.version;
        if let Some(slot) = self.details.get_mut(&key) {
            slot.loading = false;
            slot.result = Some(result.map(Arc::from));
            slot.version = version;
        }
    }

    // What is read.

    /// The delivery with this id.
    pub(super) fn delivery(&self, id: Id) -> Option<&Arc<Delivery>> {
        self.deliveries.get(self.places.get(&id)?)
    }

    /// No request has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The delivery under the cursor and the attempt that the detail shows: the selected one, or
    /// the newest.
    pub(super) fn current(&self) -> Option<(&Arc<Delivery>, &Attempt)> {
        let (id, n) = self.selected?;
        let delivery = self.delivery(id)?;
        let attempt = match n {
            Some(n) => attempt_of(delivery, n),
            None => delivery.latest(),
        };
        Some((delivery, attempt.or(delivery.latest())?))
    }

    /// The exact bytes of the current attempt, when they are here.
    pub(super) fn detail(&self) -> Option<&Arc<Detail>> {
        let (delivery, attempt) = self.current()?;
        match &self.details.get(&(delivery.id, attempt.n))?.result {
            Some(Ok(detail)) => Some(detail),
            _ => None,
        }
    }

    /// Failed deliveries among the rows, oldest first, those being replayed left out.
    pub(super) fn shown_failed(&self) -> Vec<Id> {
        self.rows
            .iter()
            .filter(|row| row.attempt.is_none() && !self.replaying.contains_key(&row.id))
            .filter(|row| self.delivery(row.id).is_some_and(|d| d.is_failed()))
            .map(|row| row.id)
            .collect()
    }

    /// Deliveries among the rows.
    pub(super) fn shown(&self) -> usize {
        self.rows.iter().filter(|row| row.attempt.is_none()).count()
    }

    /// Median and 95th percentile of the recent answers.
    pub(super) fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut times: Vec<Duration> = self.recent.iter().copied().collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        Some((*times.get(last / 2)?, *times.get(last * 95 / 100)?))
    }

    /// Arrivals of the last minute in `buckets` equal parts, oldest first.
    pub(super) fn arrivals(&self, buckets: usize) -> Vec<u32> {
        let mut out = vec![0_u32; buckets];
        let now = self.now.wall.unix_seconds();
        for (second, n) in self.arrivals {
            let ago = now - second;
            if (0..60).contains(&ago)
                && let Some(bucket) = out.get_mut((59 - ago as usize) * buckets / 60)
            {
                *bucket = bucket.saturating_add(n);
            }
        }
        out
    }

    /// Whether the screen changes with time alone.
    pub(super) fn is_ticking(&self) -> bool {
        let minute = self.now.wall.unix_seconds() - 61;
        self.toast.is_some()
            || matches!(self.status.state, State::Reconnecting { .. })
            || self
                .arrivals
                .iter()
                .any(|(second, n)| *n > 0 && *second > minute)
            || self.visible_deliveries().any(|d| {
                matches!(d.retry, Retry::At { .. })
                    || d.latest().is_some_and(|a| a.outcome == Outcome::Pending)
            })
    }

    fn visible_deliveries(&self) -> impl Iterator<Item = &Arc<Delivery>> {
        let rows = self
            .rows
            .iter()
            .skip(self.top)
            .take(usize::from(self.size.height));
        rows.map(|row| row.id)
            .chain(self.selected.map(|(id, _)| id))
            .filter_map(|id| self.delivery(id))
    }
}

/// The attempt with this number.
pub(super) fn attempt_of(delivery: &Delivery, n: u32) -> Option<&Attempt> {
    delivery.attempts.iter().find(|a| a.n == n)
}

/// The status cell: the app's code, or what came instead of it.
pub(super) fn status_cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pending => String::from("···"),
        Outcome::Answered { status, .. } => status.to_string(),
        Outcome::Failed { cause, .. } if cause.contains("timeout") => String::from("T/O"),
        Outcome::Failed {
            may_have_run: true, ..
        } => String::from("???"),
        Outcome::Failed { .. } => String::from("ERR"),
    }
}

/// The signature badge: glyph and word. `outcome` decides between `✓ ok` and `≠ APP`.
pub(super) fn badge(judgement: &Judgement, outcome: &Outcome) -> &'static str {
    match judgement.verdict {
        Verdict::Valid if app_disagrees(judgement, outcome) => "≠ APP",
        Verdict::Valid => "✓ ok",
        Verdict::Invalid => "✗ BAD",
        Verdict::Stale => "◷ OLD",
        Verdict::Missing => "? MISS",
        Verdict::NoSecret => "? KEY",
        Verdict::None => "· none",
    }
}

/// Valid here, and the app refused it the way apps refuse signatures.
pub(super) fn app_disagrees(judgement: &Judgement, outcome: &Outcome) -> bool {
    judgement.verdict == Verdict::Valid
        && matches!(
            outcome,
            Outcome::Answered {
                status: 400 | 401 | 403,
                ..
            }
        )
}

/// Whether `word` (in lower case) stands in what the row shows, or in its id, method, path.
fn matches(delivery: &Delivery, word: &str) -> bool {
    let has = |text: &str| contains(text, word);
    has(delivery.id.as_str())
        || has(&delivery.method)
        || has(&delivery.target)
        || delivery.provider.as_deref().is_some_and(has)
        || delivery.event.as_deref().is_some_and(has)
        || delivery
            .latest()
            .is_some_and(|a| has(&status_cell(&a.outcome)) || has(badge(&a.signature, &a.outcome)))
}

/// Whether `text` contains `word`, without regard to ASCII case. `word` is in lower case.
fn contains(text: &str, word: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(word);
    }
    text.as_bytes()
        .windows(word.len().max(1))
        .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}
