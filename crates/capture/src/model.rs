//! The newest deliveries in memory: what is shown live, and what groups retries.
//!
//! Every change is made under one short lock, which also sends it to the watchers and queues it
//! for the disk: all three see the same order.

use crate::feed::{BACKLOG, Change, Feed};
use crate::fields;
use crate::queue::{About, Arriving, Job, Queue, Save};
use crate::record::{
    Attempt, Delivery, Id, Outcome, Request, Response, Retry, Timestamp, Timing, Trigger,
};
use crate::recorder::Received;
use crate::retry;
use crate::store::Limits;
use sha2::{Digest, Sha256};
use signature::Judgement;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// How long after the newest arrival the same group still means the same delivery. Senders that
/// retry for days wait longer than this only late in their schedule.
const GROUP_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Arrivals that one delivery takes in. More than any known schedule makes; whoever sends one id
/// without end gets a second delivery, and no list that grows without bound.
const MAX_ARRIVALS: usize = 100;

/// Memory for summaries. 10,000 deliveries take about 10 MiB; this holds when every target is as
/// long as a relay lets it be.
const MAX_WEIGHT: usize = 64 << 20;

/// Deliveries read from the disk lately that may be replayed though memory no longer held them.
const READ_LATELY: usize = 64;

/// Group keys longer than this are kept as their hash: the sender chooses the length.
const MAX_GROUP: usize = 128;

/// Event names longer than this are cut: they come out of bodies.
const MAX_EVENT: usize = 200;

/// Why a body is not in the record.
const NO_ROOM: &str = "body not kept: the store could not keep up";

/// Why a row may lack its exact bytes.
const NO_ROW: &str = "headers and body not kept: the store could not keep up";

/// The model of one store.
#[derive(Debug)]
pub(crate) struct Model {
    /// A lock and not a task: recorders must see their change done when they return.
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    pub(crate) queue: Queue,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    /// By the order in which this process learned of them.
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<Id, u64>,
    by_group: HashMap<String, u64>,
    next: u64,
    weight: usize,
    /// Deliveries whose rows on the disk are behind, and rows there that must go.
    unsaved: BTreeSet<u64>,
    gone: HashSet<Id>,
    read_lately: VecDeque<Known>,
}

#[derive(Debug)]
struct Entry {
    delivery: Arc<Delivery>,
    about: Arc<About>,
    /// When its newest arrival came.
    arrived: Timestamp,
    /// Recorders that follow an attempt of it: such an entry stays.
    open: usize,
    /// Attempts up to this number came from the disk and are not ours to write.
    loaded: u32,
    weight: usize,
}

/// A delivery as read from the disk.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) about: Arc<About>,
}

/// Which attempt a recorder follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) delivery: Id,
    pub(crate) n: u32,
}

/// What became of the exact bytes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    All,
    /// A body was left out of the record.
    NotTheBody,
}

/// What a recorder hands over with a change.
#[derive(Debug, Default)]
pub(crate) struct Exact {
    pub(crate) request: Option<Arriving>,
    pub(crate) response: Option<Response>,
}

impl Model {
    pub(crate) fn new(limits: Limits) -> Model {
        Model {
            state: Mutex::default(),
            changes: broadcast::Sender::new(BACKLOG),
            queue: Queue::new(limits.queue, limits.queue_bytes),
            limits,
        }
    }

    /// Takes in what the disk knew at open, oldest first.
    pub(crate) fn load(&self, known: Vec<Known>) {
        let mut state = self.lock();
        for known in known {
            state.adopt(known);
        }
        state.evict(&self.limits, &self.changes);
    }

    /// Remembers what was just read, so that it can be replayed.
    pub(crate) fn note_read(&self, known: Known) {
        let mut state = self.lock();
        let id = known.delivery.id;
        if state.by_id.contains_key(&id) {
            return;
        }
        state.read_lately.retain(|k| k.delivery.id != id);
        state.read_lately.push_back(known);
        if state.read_lately.len() > READ_LATELY {
            state.read_lately.pop_front();
        }
    }

    pub(crate) fn watch(&self) -> (Vec<Arc<Delivery>>, Feed) {
        let state = self.lock();
        let snapshot = state.entries.values().map(|e| e.delivery.clone()).collect();
        (snapshot, Feed::new(self.changes.subscribe()))
    }

    /// Whether a delivery of this id is in memory.
    pub(crate) fn knows(&self, id: Id) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    /// A request's head came: a delivery of its own, until its group says otherwise.
    pub(crate) fn arrived(&self, request: Request, origin: String) -> (Place, Kept) {
        let attempt = Attempt {
            n: 1,
            request: request.id,
            trigger: Trigger::Live,
            at: request.at,
            origin,
            signature: Judgement::none(),
            outcome: Outcome::Pending,
            timing: Timing::default(),
            note: None,
        };
        let delivery = Delivery {
            id: request.id,
            at: request.at,
            endpoint: request.endpoint.clone(),
            provider: None,
            event: None,
            method: request.method.clone(),
            target: request.target.clone(),
            remote: request.remote.clone(),
            bytes: 0,
            attempts: vec![attempt],
            retry: Retry::NotDue,
        };
        let place = Place {
            delivery: delivery.id,
            n: 1,
        };
        let mut state = self.lock();
        let key = state.insert(Entry {
            weight: weight(&delivery),
            arrived: delivery.at,
            delivery: Arc::new(delivery),
            about: Arc::default(),
            open: 1,
            loaded: 0,
        });
        let exact = Exact {
            request: Some(Arriving {
                request,
                ended: false,
            }),
            response: None,
        };
        let kept = self.publish(&mut state, key, 1, exact, None);
        state.evict(&self.limits, &self.changes);
        (place, kept)
    }

    /// A person asked for one more attempt. `None` when the delivery or the request in it is not
    /// known.
    pub(crate) fn replaying(&self, delivery: Id, request: Id, origin: String) -> Option<Place> {
        let mut state = self.lock();
        if !state.by_id.contains_key(&delivery) {
            let at = state
                .read_lately
                .iter()
                .position(|k| k.delivery.id == delivery)?;
            let known = state.read_lately.remove(at)?;
            state.adopt(known);
        }
        let key = *state.by_id.get(&delivery)?;
        let entry = state.entries.get_mut(&key)?;
        let signature = entry
            .delivery
            .attempts
            .iter()
            .find(|a| a.request == request)?
            .signature
            .clone();
        let n = entry.next_number();
        entry.open += 1;
        Arc::make_mut(&mut entry.delivery).attempts.push(Attempt {
            n,
            request,
            trigger: Trigger::Replay,
            at: Timestamp::now(),
            origin,
            signature,
            outcome: Outcome::Pending,
            timing: Timing::default(),
            note: None,
        });
        state.reweigh(key);
        self.publish(&mut state, key, n, Exact::default(), None);
        state.evict(&self.limits, &self.changes);
        Some(Place { delivery, n })
    }

    /// A request has come to its end. Returns where its attempt stands now: another delivery when
    /// its group is known.
    pub(crate) fn received(
        &self,
        place: Place,
        request: Request,
        received: Received,
        timing: Timing,
    ) -> (Place, Kept) {
        let group = received.group.map(group_key);
        let mut state = self.lock();
        let Some(&own) = state.by_id.get(&place.delivery) else {
            return (place, Kept::All);
        };
        let moves_to = group
            .as_deref()
            .and_then(|group| state.same_event(group, own, request.at));

        let (key, n, gone) = match moves_to {
            Some((key, attempt)) => {
                let gone = place.delivery;
                let open = state.take_out(own).map_or(0, |e| e.open);
                self.send(Change::Removed(gone));
                let Some(entry) = state.entries.get_mut(&key) else {
                    return (place, Kept::All);
                };
                let n = entry.next_number();
                entry.open += open;
                entry.arrived = entry.arrived.max(request.at);
                let delivery = Arc::make_mut(&mut entry.delivery);
                delivery.remote.clone_from(&request.remote);
                delivery.attempts.push(Attempt {
                    n,
                    trigger: Trigger::Retry,
                    ..attempt
                });
                state.reweigh(key);
                (key, n, Some(gone))
            }
            None => {
                if let Some(group) = &group {
                    state.by_group.insert(group.clone(), own);
                }
                (own, place.n, None)
            }
        };
        let Some(entry) = state.entries.get_mut(&key) else {
            return (place, Kept::All);
        };
        if (group.is_some() && entry.about.group != group) || received.schedule.is_some() {
            let about = Arc::make_mut(&mut entry.about);
            about.group = group.or(about.group.take());
            about.schedule = received.schedule.or(about.schedule.take());
        }
        let delivery = Arc::make_mut(&mut entry.delivery);
        delivery.bytes = request.body.len;
        delivery.provider = received.provider.or(delivery.provider.take());
        delivery.event = received.event.map(cut_event).or(delivery.event.take());
        if let Some(attempt) = delivery.attempts.iter_mut().find(|a| a.n == n) {
            attempt.signature = received.judgement;
            attempt.timing = timing;
        }
        let place = Place {
            delivery: delivery.id,
            n,
        };
        let exact = Exact {
            request: Some(Arriving {
                request,
                ended: true,
            }),
            response: None,
        };
        let kept = self.publish(&mut state, key, n, exact, gone);
        (place, kept)
    }

    /// Changes one attempt. Does nothing when its delivery was removed meanwhile.
    pub(crate) fn change(
        &self,
        place: Place,
        exact: Exact,
        change: impl FnOnce(&mut Attempt),
    ) -> Kept {
        let mut state = self.lock();
        let Some(&key) = state.by_id.get(&place.delivery) else {
            return Kept::All;
        };
        if let Some(attempt) = state.attempt_mut(key, place.n) {
            change(attempt);
        }
        self.publish(&mut state, key, place.n, exact, None)
    }

    /// Shows a change of one attempt to the watchers without writing it down.
    pub(crate) fn show(&self, place: Place, change: impl FnOnce(&mut Attempt)) {
        let mut state = self.lock();
        let Some(&key) = state.by_id.get(&place.delivery) else {
            return;
        };
        if let Some(attempt) = state.attempt_mut(key, place.n) {
            change(attempt);
        }
        if let Some(entry) = state.entries.get(&key) {
            self.send(Change::Changed(entry.delivery.clone()));
        }
    }

    /// A recorder is done with its attempt.
    pub(crate) fn closed(&self, place: Place) {
        let mut state = self.lock();
        if let Some(&key) = state.by_id.get(&place.delivery)
            && let Some(entry) = state.entries.get_mut(&key)
        {
            entry.open = entry.open.saturating_sub(1);
        }
    }

    /// Forgets deliveries. Those that a recorder still follows stay when `even_open` is false.
    pub(crate) fn forget(&self, ids: &[Id], even_open: bool) {
        let mut state = self.lock();
        for id in ids {
            state.read_lately.retain(|k| k.delivery.id != *id);
            let Some(&key) = state.by_id.get(id) else {
                continue;
            };
            if even_open || state.entries.get(&key).is_some_and(|e| e.open == 0) {
                state.take_out(key);
                self.send(Change::Removed(*id));
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let next = state.next;
        *state = State {
            next,
            ..State::default()
        };
        self.send(Change::Reset);
    }

    /// For the writer: what the queue could not take, as it is now; the bytes of it are lost.
    /// Behind what is queued, which is older and must not be written after it.
    pub(crate) fn take_unsaved(&self) -> Vec<Job> {
        let mut state = self.lock();
        let mut gone = std::mem::take(&mut state.gone);
        let mut jobs = self.queue.drain();
        for key in std::mem::take(&mut state.unsaved) {
            let Some(entry) = state.entries.get(&key) else {
                continue;
            };
            let id = entry.delivery.id;
            let ours = entry.delivery.attempts.iter();
            for attempt in ours.filter(|a| a.n > entry.loaded) {
                gone.remove(&attempt.request);
                jobs.push(Job::Save(Box::new(Save {
                    delivery: entry.delivery.clone(),
                    about: entry.about.clone(),
                    n: attempt.n,
                    request: None,
                    response: None,
                    gone: (attempt.request != id && attempt.trigger == Trigger::Retry)
                        .then_some(attempt.request),
                    room: 0,
                })));
            }
        }
        if !gone.is_empty() {
            let (answer, _) = tokio::sync::oneshot::channel();
            jobs.push(Job::Remove(gone.into_iter().collect(), answer));
        }
        jobs
    }

    /// Whether rows wait to be written from memory.
    pub(crate) fn has_unsaved(&self) -> bool {
        let state = self.lock();
        !state.unsaved.is_empty() || !state.gone.is_empty()
    }

    /// Recomputes what follows from a change, shows it, and queues it.
    fn publish(
        &self,
        state: &mut State,
        key: u64,
        n: u32,
        mut exact: Exact,
        gone: Option<Id>,
    ) -> Kept {
        let Some(entry) = state.entries.get_mut(&key) else {
            return Kept::All;
        };
        let mut kept = Kept::All;
        let mut note = None;
        let bodies = exact.body_bytes();
        let heads = exact.head_bytes();
        let mut room = heads + bodies;
        let mut fits = self.queue.reserve(room);
        if !fits && bodies > 0 {
            exact.leave_bodies_out();
            kept = Kept::NotTheBody;
            note = Some(NO_ROOM);
            room = heads;
            fits = self.queue.reserve(room);
        }
        // Of a request still coming in, everything is handed over again at its end.
        if !fits && exact.is_final() {
            kept = Kept::NotTheBody;
            note = Some(NO_ROW);
        }

        let retry = retry::expected(entry.about.schedule.as_deref(), &entry.delivery.attempts);
        if entry.delivery.retry != retry {
            Arc::make_mut(&mut entry.delivery).retry = retry;
        }
        if let Some(note) = note {
            let attempts = &mut Arc::make_mut(&mut entry.delivery).attempts;
            if let Some(attempt) = attempts.iter_mut().find(|a| a.n == n) {
                attempt.note = Some(String::from(note));
            }
        }
        self.send(Change::Changed(entry.delivery.clone()));

        if fits {
            self.queue.push(Job::Save(Box::new(Save {
                delivery: entry.delivery.clone(),
                about: entry.about.clone(),
                n,
                request: exact.request,
                response: exact.response,
                gone,
                room,
            })));
        } else {
            state.unsaved.insert(key);
            state.gone.extend(gone);
            self.queue.nudge();
        }
        kept
    }

    /// Sending fails only when nobody watches.
    fn send(&self, change: Change) {
        let _ = self.changes.send(change);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, entry: Entry) -> u64 {
        let key = self.next;
        self.next += 1;
        self.weight += entry.weight;
        self.by_id.insert(entry.delivery.id, key);
        if let Some(group) = &entry.about.group {
            self.by_group.insert(group.clone(), key);
        }
        self.entries.insert(key, entry);
        key
    }

    fn adopt(&mut self, known: Known) {
        if self.by_id.contains_key(&known.delivery.id) {
            return;
        }
        let attempts = &known.delivery.attempts;
        let arrivals = attempts.iter().filter(|a| a.trigger != Trigger::Replay);
        self.insert(Entry {
            arrived: arrivals.map(|a| a.at).max().unwrap_or(known.delivery.at),
            loaded: attempts.last().map_or(0, |a| a.n),
            weight: weight(&known.delivery),
            delivery: known.delivery,
            about: known.about,
            open: 0,
        });
    }

    /// The delivery that already holds this event, and the attempt that moves to it.
    fn same_event(&self, group: &str, own: u64, at: Timestamp) -> Option<(u64, Attempt)> {
        let key = *self.by_group.get(group)?;
        let known = self.entries.get(&key)?;
        let newcomer = self.entries.get(&own)?;
        // A replay of a request that is still coming in keeps the two apart.
        let [attempt] = &newcomer.delivery.attempts[..] else {
            return None;
        };
        let arrivals = known.delivery.attempts.iter();
        let fits = key != own
            && at.since(known.arrived) <= GROUP_WINDOW
            && arrivals.filter(|a| a.trigger != Trigger::Replay).count() < MAX_ARRIVALS;
        fits.then(|| (key, attempt.clone()))
    }

    fn attempt_mut(&mut self, key: u64, n: u32) -> Option<&mut Attempt> {
        let entry = self.entries.get_mut(&key)?;
        let attempts = &mut Arc::make_mut(&mut entry.delivery).attempts;
        attempts.iter_mut().find(|a| a.n == n)
    }

    fn take_out(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.weight = self.weight.saturating_sub(entry.weight);
        self.by_id.remove(&entry.delivery.id);
        self.unsaved.remove(&key);
        if let Some(group) = &entry.about.group
            && self.by_group.get(group) == Some(&key)
        {
            self.by_group.remove(group);
        }
        Some(entry)
    }

    fn reweigh(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let now = weight(&entry.delivery);
            self.weight = self.weight.saturating_sub(entry.weight) + now;
            entry.weight = now;
        }
    }

    /// Lets the oldest go that nobody is recording, while there are too many.
    fn evict(&mut self, limits: &Limits, changes: &broadcast::Sender<Change>) {
        while self.entries.len() > limits.in_memory || self.weight > MAX_WEIGHT {
            let oldest = self.entries.iter().find(|(_, e)| e.open == 0);
            let Some((&key, entry)) = oldest else { break };
            let id = entry.delivery.id;
            self.take_out(key);
            let _ = changes.send(Change::Removed(id));
        }
    }
}

impl Entry {
    fn next_number(&self) -> u32 {
        self.delivery
            .attempts
            .last()
            .map_or(1, |a| a.n.saturating_add(1))
    }
}

impl Exact {
    fn body_bytes(&self) -> usize {
        self.request
            .as_ref()
            .map_or(0, |r| r.request.body.bytes.len())
            + self.response.as_ref().map_or(0, |r| r.body.bytes.len())
    }

    /// What a job weighs without bodies; 1 KiB stands for the summary.
    fn head_bytes(&self) -> usize {
        let request = self.request.as_ref().map_or(0, |r| {
            fields::weight(&r.request.fields)
                + fields::weight(&r.request.trailers)
                + r.request.target.len()
        });
        let response = self.response.as_ref().map_or(0, |r| {
            fields::weight(&r.fields) + fields::weight(&r.trailers)
        });
        1024 + request + response
    }

    fn is_final(&self) -> bool {
        self.response.is_some() || self.request.as_ref().is_some_and(|r| r.ended)
    }

    fn leave_bodies_out(&mut self) {
        if let Some(arriving) = &mut self.request {
            arriving.request.body.bytes.clear();
        }
        if let Some(response) = &mut self.response {
            response.body.bytes.clear();
        }
    }
}

/// About how many bytes a summary takes.
fn weight(delivery: &Delivery) -> usize {
    let attempts: usize = delivery.attempts.iter().map(|a| 400 + a.origin.len()).sum();
    300 + delivery.target.len() + delivery.endpoint.len() + attempts
}

fn group_key(group: String) -> String {
    if group.len() <= MAX_GROUP {
        return group;
    }
    let digest = Sha256::digest(group.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn cut_event(mut event: String) -> String {
    if event.len() > MAX_EVENT {
        let end = (0..=MAX_EVENT)
            .rev()
            .find(|at| event.is_char_boundary(*at))
            .unwrap_or(0);
        event.truncate(end);
    }
    event
}
