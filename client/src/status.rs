//! What is true of the tunnel right now: the one value behind the status line, NDJSON and the API.

use std::time::{Duration, Instant};

/// How the tunnel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The first session is being dialled.
    Connecting,
    /// A session stands and the name leads here.
    Online,
    /// The session was lost; the next try starts at `next_try`.
    Reconnecting {
        /// How many tries have failed since the loss.
        tries: u32,
        /// When the next one starts; in the past while it runs.
        next_try: Instant,
    },
    /// The relay is finishing what runs and has asked us to dial again.
    Draining,
    /// Given up: the relay refused, or the program is ending.
    Offline,
}

impl State {
    /// The word of the contract: `online|connecting|reconnecting|draining|offline`.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Online => "online",
            State::Reconnecting { .. } => "reconnecting",
            State::Draining => "draining",
            State::Offline => "offline",
        }
    }
}

/// The tunnel as every face shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How it stands.
    pub state: State,
    /// Why, in one sentence, when it is not online.
    pub reason: Option<String>,
    /// The public name and URL, once the relay has given them: `brave-otter`,
    /// `https://brave-otter.example.dev`. Kept while reconnecting.
    pub name: Option<String>,
    /// See `name`.
    pub url: Option<String>,
    /// Where requests go, such as `http://localhost:3000`.
    pub origin: String,
    /// The local web inspector, such as `http://127.0.0.1:4040`; `None` when it is off.
    pub inspector: Option<String>,
    /// `quic` or `tcp`, while a session stands.
    pub transport: Option<&'static str>,
    /// The session's smoothed round trip, while one stands.
    pub rtt: Option<Duration>,
    /// Since when the state is what it is.
    pub since: Instant,
    /// How often a session was made again after a loss.
    pub reconnects: u32,
    /// The relay runs inside this process, so the URL works on this machine only.
    pub embedded: bool,
}
