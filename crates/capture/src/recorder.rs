//! A handle that follows one exchange while it streams.
//!
//! ```text
//! live:   arrived ─► request_body* ─► request_end ─┐
//! replay: replaying ───────────────────────────────┴► connected ► sent ► response_head
//!                                                      ► response_body* ► response_end | failed
//! ```
//!
//! Request and answer may overlap: an app may answer, or be lost, before the request has come to
//! its end. Every method is short and sync. Dropping the recorder ends what is open: a request
//! without an end is recorded as cut, an attempt without an outcome as failed.

use crate::model::{Exact, Kept, Place};
use crate::record::{Body, BodyEnd, Fields, Id, Outcome, Request, Response, Timestamp, Timing};
use crate::store::Store;
use bytes::{Bytes, BytesMut};
use signature::Judgement;
use std::time::{Duration, Instant};

/// The head of a live request: a [`Request`] without what is known only at its end.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The request's id.
    pub id: Id,
    /// When its head reached the relay.
    pub at: Timestamp,
    /// The public name it came to.
    pub endpoint: String,
    /// Scheme and authority as the sender addressed them.
    pub public_origin: String,
    /// The sender's address.
    pub remote: String,
    /// The HTTP version at the public side.
    pub version: &'static str,
    /// The method, as sent.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// Header fields as sent.
    pub fields: Fields,
    /// Where it is being forwarded to, such as `http://localhost:3000`.
    pub origin: String,
}

/// What is known of a request once its last byte has come.
#[derive(Clone, Debug)]
pub struct Received {
    /// What verification concluded.
    pub judgement: Judgement,
    /// The provider, where one was recognised.
    pub provider: Option<String>,
    /// The provider's name for the event. Cut to 200 bytes.
    pub event: Option<String>,
    /// The provider's id of the event: requests of the same group within 24 h are attempts of one
    /// delivery. Long keys are kept as their hash.
    pub group: Option<String>,
    /// The sender's waits before each retry: empty when it never retries, `None` when nothing is
    /// known.
    pub schedule: Option<Vec<Duration>>,
}

impl Received {
    /// Nothing recognised, nothing to check.
    pub fn unknown() -> Received {
        Received {
            judgement: Judgement::none(),
            provider: None,
            event: None,
            group: None,
            schedule: None,
        }
    }
}

/// Why the app's answer did not reach the sender whole.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The status the sender got: ours, or the app's when its answer was cut after the head.
    pub status: Option<u16>,
    /// The word of `Adit-Cause`.
    pub cause: String,
    /// One sentence for a person.
    pub why: String,
    /// Whether the app may have acted on the request all the same.
    pub may_have_run: bool,
}

/// Follows one attempt from its first byte to its outcome. See the module's picture.
#[derive(Debug)]
pub struct Recorder {
    store: Store,
    place: Place,
    began: Instant,
    timing: Timing,
    /// Until the request has ended; `None` for a replay.
    request: Option<Incoming>,
    response: Option<Answer>,
    over: bool,
    abandoned: Option<(String, String)>,
}

#[derive(Debug)]
struct Incoming {
    head: Request,
    body: Tee,
}

#[derive(Debug)]
struct Answer {
    head: Response,
    body: Tee,
}

/// The first bytes of a body that passes by.
#[derive(Debug, Default)]
struct Tee {
    kept: Vec<u8>,
    len: u64,
    /// Bytes under way would have exceeded the store's limit: nothing more is kept.
    starved: bool,
}

/// The same fields in a buffer of their own size. As they come they are slices of a read buffer,
/// and a record that waits for the disk would keep all of it.
fn compact(fields: &Fields) -> Fields {
    let len = fields.iter().map(|(n, v)| n.len() + v.len()).sum();
    let mut all = BytesMut::with_capacity(len);
    for (name, value) in fields {
        all.extend_from_slice(name);
        all.extend_from_slice(value);
    }
    let mut all = all.freeze();
    fields
        .iter()
        .map(|(name, value)| (all.split_to(name.len()), all.split_to(value.len())))
        .collect()
}

impl Recorder {
    pub(crate) fn live(store: Store, mut arrival: Arrival) -> Recorder {
        if store.model().knows(arrival.id) {
            // Ids come from the relay. Should it repeat one, the first record stays as it is.
            arrival.id = store.fresh_id();
        }
        let head = Request {
            id: arrival.id,
            at: arrival.at,
            endpoint: arrival.endpoint,
            public_origin: arrival.public_origin,
            remote: arrival.remote,
            version: arrival.version,
            method: arrival.method,
            target: arrival.target,
            fields: compact(&arrival.fields),
            body: Body {
                end: BodyEnd::Cut,
                ..Body::empty()
            },
            trailers: Fields::new(),
            signature: Judgement::none(),
        };
        let (place, _) = store.model().arrived(head.clone(), arrival.origin);
        let incoming = Incoming {
            head,
            body: Tee::default(),
        };
        Recorder::new(store, place, Some(incoming))
    }

    pub(crate) fn replay(store: Store, place: Place) -> Recorder {
        Recorder::new(store, place, None)
    }

    fn new(store: Store, place: Place, request: Option<Incoming>) -> Recorder {
        Recorder {
            store,
            place,
            began: Instant::now(),
            timing: Timing::default(),
            request,
            response: None,
            over: false,
            abandoned: None,
        }
    }

    /// A piece of the request body passed.
    pub fn request_body(&mut self, chunk: &Bytes) {
        if let Some(request) = &mut self.request {
            request.body.pass(chunk, &self.store);
        }
    }

    /// The request body as kept so far, and whether these are all the bytes that passed. For
    /// verifying a signature before [`Recorder::request_end`]; empty afterwards and for a replay.
    pub fn request_kept(&self) -> (&[u8], bool) {
        match &self.request {
            Some(request) => (&request.body.kept, request.body.is_all()),
            None => (&[], false),
        }
    }

    /// The request came to its end. If its group is known, its attempt moves to that delivery:
    /// [`Recorder::delivery`] and [`Recorder::attempt`] tell.
    pub fn request_end(&mut self, trailers: Fields, end: BodyEnd, received: Received) {
        let Some(Incoming { head, body }) = self.request.take() else {
            return;
        };
        let starved = self.note_starved(&body);
        let request = Request {
            body: body.end(end, &self.store),
            trailers: compact(&trailers),
            signature: received.judgement.clone(),
            ..head
        };
        self.timing.received = Some(self.elapsed());
        let (place, kept) = self
            .store
            .model()
            .received(self.place, request, received, self.timing);
        self.place = place;
        self.count(starved, kept);
    }

    /// A connection to the app stands.
    pub fn connected(&mut self) {
        self.timing.connected = Some(self.elapsed());
    }

    /// The request head is written to the app: from now on it may have run.
    pub fn sent(&mut self) {
        self.timing.sent = Some(self.elapsed());
    }

    /// The app's response head came.
    pub fn response_head(&mut self, status: u16, reason: String, fields: Fields) {
        if self.over {
            return;
        }
        self.timing.head = Some(self.elapsed());
        self.response = Some(Answer {
            head: Response {
                status,
                reason,
                fields: compact(&fields),
                body: Body::empty(),
                trailers: Fields::new(),
            },
            body: Tee::default(),
        });
        let timing = self.timing;
        self.store.model().show(self.place, |a| a.timing = timing);
    }

    /// A piece of the answer passed.
    pub fn response_body(&mut self, chunk: &Bytes) {
        if let Some(response) = &mut self.response {
            response.body.pass(chunk, &self.store);
        }
    }

    /// The answer went to its end.
    pub fn response_end(&mut self, trailers: Fields) {
        let Some(answer) = &self.response else {
            return self.failed(Failure {
                status: None,
                cause: String::from("internal"),
                why: String::from("the answer ended before its head came"),
                may_have_run: self.timing.sent.is_some(),
            });
        };
        let outcome = Outcome::Answered {
            status: answer.head.status,
            bytes: answer.body.len,
        };
        self.end(outcome, BodyEnd::Whole, trailers);
    }

    /// The app did not answer, or its answer was cut.
    pub fn failed(&mut self, failure: Failure) {
        let outcome = Outcome::Failed {
            status: failure.status,
            cause: failure.cause,
            why: failure.why,
            may_have_run: failure.may_have_run,
        };
        self.end(outcome, BodyEnd::Cut, Fields::new());
    }

    /// The whole answer that [`Recorder::response_end`] told of did not reach the sender after all.
    /// The answer stays in the record; the attempt has failed.
    pub fn undelivered(&mut self, cause: impl Into<String>, why: impl Into<String>) {
        let (cause, why) = (cause.into(), why.into());
        let exact = Exact {
            request: None,
            response: None,
        };
        self.store.model().change(self.place, exact, |attempt| {
            if matches!(attempt.outcome, Outcome::Answered { .. }) {
                attempt.outcome = Outcome::Failed {
                    status: None,
                    cause,
                    why,
                    may_have_run: true,
                };
            }
        });
    }

    /// Says in advance what it means when this recorder is dropped without an outcome, such as
    /// `sender-gone`. Without this it means `client-stopped`.
    pub fn abandon(&mut self, cause: impl Into<String>, why: impl Into<String>) {
        self.abandoned = Some((cause.into(), why.into()));
    }

    /// The delivery this attempt belongs to. May change once, at [`Recorder::request_end`].
    pub fn delivery(&self) -> Id {
        self.place.delivery
    }

    /// The attempt's number in its delivery, from 1. May change with the delivery.
    pub fn attempt(&self) -> u32 {
        self.place.n
    }

    /// How long this recorder has followed, in whole microseconds: what the timing marks count.
    pub fn elapsed(&self) -> Duration {
        let micros = self.began.elapsed().as_micros();
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn end(&mut self, outcome: Outcome, end: BodyEnd, trailers: Fields) {
        if self.over {
            return;
        }
        self.over = true;
        self.timing.done = Some(self.elapsed());
        let mut starved = false;
        let response = self.response.take().map(|answer| {
            starved = self.note_starved(&answer.body);
            Response {
                body: answer.body.end(end, &self.store),
                trailers: compact(&trailers),
                ..answer.head
            }
        });
        let timing = self.timing;
        let exact = Exact {
            request: None,
            response,
        };
        let kept = self.store.model().change(self.place, exact, |attempt| {
            attempt.outcome = outcome;
            attempt.timing = timing;
        });
        self.count(starved, kept);
    }

    /// Says in the record that a body is not whole because too much was under way.
    fn note_starved(&self, body: &Tee) -> bool {
        if body.starved {
            self.store.model().show(self.place, |attempt| {
                let note = "body not kept whole: too many bytes were under way";
                attempt.note.get_or_insert_with(|| String::from(note));
            });
        }
        body.starved
    }

    fn count(&self, starved: bool, kept: Kept) {
        if starved || kept == Kept::NotTheBody {
            self.store.count_dropped();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.request.is_some() {
            self.request_end(Fields::new(), BodyEnd::Cut, Received::unknown());
        }
        if !self.over {
            let (cause, why) = self.abandoned.take().unwrap_or_else(|| {
                (
                    String::from("client-stopped"),
                    String::from("the client stopped before the answer was complete"),
                )
            });
            let status = self.response.as_ref().map(|answer| answer.head.status);
            self.failed(Failure {
                status,
                cause,
                why,
                may_have_run: self.timing.sent.is_some(),
            });
        }
        self.store.model().closed(self.place);
    }
}

impl Tee {
    fn pass(&mut self, chunk: &Bytes, store: &Store) {
        self.len = self.len.saturating_add(chunk.len() as u64);
        let limit = store.limits().body;
        let wanted = chunk.len().min(limit.saturating_sub(self.kept.len()));
        if wanted == 0 || self.starved {
            return;
        }
        if store.take_live(wanted) {
            self.kept.extend_from_slice(&chunk[..wanted]);
        } else {
            self.starved = true;
        }
    }

    fn is_all(&self) -> bool {
        self.kept.len() as u64 == self.len
    }

    fn end(self, end: BodyEnd, store: &Store) -> Body {
        store.give_live(self.kept.len());
        Body {
            bytes: Bytes::from(self.kept),
            len: self.len,
            end,
        }
    }
}
