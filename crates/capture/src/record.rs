//! The record of one delivery: what arrived, byte for byte, and every attempt made with it.
//!
//! ```text
//! Delivery ─┬─ Attempt 1 (live)   ── Request a ── Response
//!           ├─ Attempt 2 (retry)  ── Request b ── Response     the provider sent it again
//!           └─ Attempt 3 (replay) ── Request b ── Response     a person asked
//! ```
//!
//! A [`Delivery`] is one event at the sender: its retries and replays are attempts of it.
//! Every arrival keeps its own exact [`Request`]; a replay points at the request it repeats.
//! Summaries (`Delivery`, `Attempt`) are small and live in memory; exact bytes (`Request`,
//! `Response`) are read from the store when somebody looks.

use bytes::Bytes;
use signature::Judgement;
use std::fmt;
use std::time::Duration;

/// Names one request, and the delivery that it started: 16 characters of Crockford's base32 in
/// lower case, sortable by time. Made by the relay for live traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// The alphabet of Crockford's base32, in lower case.
    const ALPHABET: &'static [u8] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// The id of a moment: 48 bits of its milliseconds, then 32 bits of chance.
    pub fn new(at: Timestamp, chance: u32) -> Id {
        let millis = u128::from(u64::try_from(at.0 / 1000).unwrap_or(0)) & 0xffff_ffff_ffff;
        let bits = millis << 32 | u128::from(chance);
        let mut text = [0; 16];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = Id::ALPHABET[(bits >> (75 - 5 * i)) as usize & 31];
        }
        Id(text)
    }

    /// Accepts exactly 16 characters of the alphabet.
    pub fn parse(text: &str) -> Option<Id> {
        let bytes: [u8; 16] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|b| Id::ALPHABET.contains(b))
            .then_some(Id(bytes))
    }

    /// The 16 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The last six characters: enough to tell requests apart on a screen.
    pub fn short(&self) -> &str {
        &self.as_str()[10..]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A moment: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock, now.
    pub fn now() -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Err(_) => Timestamp(0),
        }
    }

    /// RFC 3339 in UTC with microseconds, such as `2026-11-25T04:12:00.123456Z`.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => format!("{at:.6}"),
            Err(_) => String::from("1970-01-01T00:00:00.000000Z"),
        }
    }

    /// `HH:MM:SS` in the system's time zone.
    pub fn local_clock(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => jiff::ZonedDateTime::new(at, jiff::tz::TimeZone::system())
                .strftime("%H:%M:%S")
                .to_string(),
            Err(_) => String::from("--:--:--"),
        }
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment and `later` after it.
    pub fn plus(self, later: Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add(i64::try_from(later.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Header or trailer fields as they came: order, spelling and repeats kept; raw bytes.
pub type Fields = Vec<(Bytes, Bytes)>;

/// The first value of a field, by name without regard to case.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Bytes> {
    fields
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// A message body as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The first bytes, exact, up to the store's limit. All of them when `kept == len`.
    pub bytes: Bytes,
    /// How many bytes passed.
    pub len: u64,
    /// How it ended.
    pub end: BodyEnd,
}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body {
            bytes: Bytes::new(),
            len: 0,
            end: BodyEnd::Whole,
        }
    }

    /// Whether every byte that passed was kept, and the body came to its end.
    pub fn is_exact(&self) -> bool {
        self.bytes.len() as u64 == self.len && self.end == BodyEnd::Whole
    }
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Its last byte came.
    Whole,
    /// It was cut before its end: a sender, an app or a tunnel went away.
    Cut,
}

/// One request as it arrived. Never edited.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id.
    pub id: Id,
    /// When its head reached the relay.
    pub at: Timestamp,
    /// The public name it came to, such as `brave-otter`.
    pub endpoint: String,
    /// Scheme and authority as the sender addressed them, such as `https://brave-otter.example.dev`.
    pub public_origin: String,
    /// The sender's address, such as `203.0.113.9:40112`.
    pub remote: String,
    /// The HTTP version at the public side: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`.
    pub version: &'static str,
    /// The method, as sent.
    pub method: String,
    /// The request target, as sent (percent-encoding, `//` and dots untouched).
    pub target: String,
    /// Header fields as sent, framing fields included.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// Trailer fields.
    pub trailers: Fields,
    /// What verification concluded, judged at arrival.
    pub signature: Judgement,
}

impl Request {
    /// The public URL: what a provider that signs URLs has signed.
    pub fn url(&self) -> String {
        format!("{}{}", self.public_origin, self.target)
    }
}

/// The app's answer to one attempt.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase as sent; often empty.
    pub reason: String,
    /// Header fields as sent.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// Trailer fields.
    pub trailers: Fields,
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The sender sent it for the first time.
    Live,
    /// The sender sent the same event again.
    Retry,
    /// A person asked.
    Replay,
    /// The relay had held it while the client was away.
    Held,
}

impl Trigger {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Live => "live",
            Trigger::Retry => "retry",
            Trigger::Replay => "replay",
            Trigger::Held => "held",
        }
    }

    /// The trigger of a word written by [`Trigger::as_str`].
    pub fn parse(word: &str) -> Option<Trigger> {
        [
            Trigger::Live,
            Trigger::Retry,
            Trigger::Replay,
            Trigger::Held,
        ]
        .into_iter()
        .find(|trigger| trigger.as_str() == word)
    }
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet.
    Pending,
    /// The app answered and its answer went to its end.
    Answered {
        /// The app's status code.
        status: u16,
        /// Bytes of the answer's body.
        bytes: u64,
    },
    /// We answered for the app, or the answer was cut.
    Failed {
        /// The status the sender got: ours, or the app's when its answer was cut after the head.
        status: Option<u16>,
        /// The word of `Adit-Cause`, such as `app-refused`.
        cause: String,
        /// One sentence for a person.
        why: String,
        /// Whether the app may have acted on the request all the same.
        may_have_run: bool,
    },
}

impl Outcome {
    /// The status the sender got, once it is known.
    pub fn status(&self) -> Option<u16> {
        match self {
            Outcome::Pending => None,
            Outcome::Answered { status, .. } => Some(*status),
            Outcome::Failed { status, .. } => *status,
        }
    }

    /// Answered with 4xx or 5xx, or not answered by the app.
    pub fn is_failure(&self) -> bool {
        match self {
            Outcome::Pending => false,
            Outcome::Answered { status, .. } => *status >= 400,
            Outcome::Failed { .. } => true,
        }
    }

    /// Refused here because of its signature, before the app saw it.
    pub fn is_refused(&self) -> bool {
        matches!(self, Outcome::Failed { cause, .. } if cause == REFUSED)
    }

    /// Answered with 2xx: what makes a sender stop retrying.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Answered { status, .. } if (200..300).contains(status))
    }
}

/// The cause of what was refused because of its signature.
pub const REFUSED: &str = "bad-signature";

/// Where the time went, each counted from the moment the client had the request's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The whole request body had come.
    pub received: Option<Duration>,
    /// A connection to the app stood.
    pub connected: Option<Duration>,
    /// The request head was written to the app.
    pub sent: Option<Duration>,
    /// The app's response head came.
    pub head: Option<Duration>,
    /// The last byte of the answer had passed.
    pub done: Option<Duration>,
}

/// One forwarding of a request to an origin.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Counted from 1 within its delivery.
    pub n: u32,
    /// The request it forwarded.
    pub request: Id,
    /// Why it was made.
    pub trigger: Trigger,
    /// When it began.
    pub at: Timestamp,
    /// Where it went, such as `http://localhost:3000`.
    pub origin: String,
    /// The judgement on its request.
    pub signature: Judgement,
    /// How far it has come.
    pub outcome: Outcome,
    /// Where the time went.
    pub timing: Timing,
    /// A note when the record is not whole: a body dropped because the store could not keep up.
    pub note: Option<String>,
}

impl Attempt {
    /// From the head to the last byte, or to the failure.
    pub fn duration(&self) -> Option<Duration> {
        self.timing.done
    }
}

/// One event at the sender, and every attempt made with it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The id of its first request.
    pub id: Id,
    /// When its first request arrived.
    pub at: Timestamp,
    /// The public name it came to.
    pub endpoint: String,
    /// The provider, where one was recognised.
    pub provider: Option<String>,
    /// The provider's name for the event, such as `message.delivered`.
    pub event: Option<String>,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The sender's address of the newest arrival.
    pub remote: String,
    /// Bytes of the request body.
    pub bytes: u64,
    /// Attempts, oldest first; never empty.
    pub attempts: Vec<Attempt>,
    /// When the sender is expected to send it again.
    pub retry: Retry,
}

impl Delivery {
    /// The newest attempt.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The newest attempt that is over failed, so a person may want to replay it. One that runs
    /// changes nothing yet. What was refused for its signature has not failed: nobody wants the
    /// app to get it after all.
    pub fn is_failed(&self) -> bool {
        let over = |a: &&Attempt| a.outcome != Outcome::Pending;
        let newest = self.attempts.iter().rfind(over);
        newest.is_some_and(|a| a.outcome.is_failure() && !a.outcome.is_refused())
    }
}

/// What is known of the sender's next retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing is known: an unknown sender, or one that publishes no schedule.
    Unknown,
    /// The sender does not retry by itself.
    Never,
    /// None is due: it was answered with 2xx, or is still under way.
    NotDue,
    /// Expected at this moment, as retry `number` of `of`.
    At {
        /// When.
        at: Timestamp,
        /// Which retry this will be, from 1.
        number: u32,
        /// How many the sender makes at most.
        of: u32,
    },
    /// The schedule is over: the sender has given up.
    Exhausted,
}
