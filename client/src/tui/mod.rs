//! The terminal face: deliveries as they come, and what to do about them.
//!
//! ```text
//! terminal events ─┐
//! feed, status ────┼─► update(model, input) ─► effects ─► backend, clipboard
//! answers ─────────┘          │
//!                             └─► settle ─► view ─► terminal, at most 30 times a second
//! ```
//!
//! [`update`](update::update) does no I/O and asks no clock; the view is drawn from the model
//! alone; [`run`] is the only place where things happen. Inputs are drained before a frame is
//! drawn, so a burst is one frame and never holds up a delivery.
//!
//! Not here: where deliveries come from, and what a replay does (`Backend`).

mod keys;
mod model;
mod screen;
mod update;
mod view;

#[cfg(test)]
mod tests;

pub use model::Now;
pub use screen::Screen;

use crate::status::Status;
use capture::{Delivery, Id, Timestamp};
use crossterm::event::{Event, KeyEvent, MouseEvent};
use futures_util::{Stream, StreamExt as _};
use model::Model;
use ratatui::Terminal;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Least time between two frames: 30 a second are as smooth as a list can look.
const FRAME: Duration = Duration::from_millis(33);
/// How often time itself is looked at: countdowns show seconds.
const TICK: Duration = Duration::from_secs(1);
/// Inputs taken between two looks at keys and frames; a burst cannot keep the keys waiting.
const DRAIN: usize = 2_000;
/// Replays that run at once; a bulk replay must not be a storm.
const REPLAYS: usize = 4;

/// What the screen begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// How the tunnel stands.
    pub status: Status,
    /// What is recorded already, oldest first.
    pub deliveries: Vec<Arc<Delivery>>,
    /// What the page before the first request says.
    pub tips: Tips,
    /// Whether to use colour; without, bold, dim and reverse are left.
    pub color: bool,
}

/// Facts for the page before the first request.
#[derive(Clone, Debug)]
pub struct Tips {
    /// Providers that a secret is configured for.
    pub secrets: Vec<String>,
    /// The path in the URL to paste, such as `/webhook`.
    pub path: String,
    /// The command that sends a signed request, without `--to`; `None` when there is none.
    pub send: Option<String>,
    /// The CA file that `curl` needs for the public URL; `None` when the web PKI does.
    pub ca: Option<String>,
}

/// The exact bytes of one attempt.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The request it forwarded.
    pub request: capture::Request,
    /// The app's answer, if one came.
    pub response: Option<capture::Response>,
}

/// What a [`Backend`] promises to bring.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

/// Everything the loop may ask of the rest of the program. Errors are one sentence for a person.
pub trait Backend: Send + Sync + 'static {
    /// The exact bytes of attempt `n`.
    fn load(&self, delivery: Id, n: u32) -> Answer<Detail>;

    /// Sends the delivery's request to the origin again; the number of the new attempt, as soon
    /// as it is known. How it ends comes as [`Input::Changed`].
    fn replay(&self, delivery: Id) -> Answer<u32>;

    /// Puts text on the terminal's clipboard.
    ///
    /// # Errors
    ///
    /// The terminal cannot be written.
    fn copy(&self, text: &str) -> io::Result<()> {
        screen::copy(text)
    }

    /// Turns mouse events on or off.
    ///
    /// # Errors
    ///
    /// The terminal cannot be written.
    fn mouse(&self, on: bool) -> io::Result<()> {
        screen::mouse(on)
    }
}

/// What `update` takes.
#[derive(Debug)]
pub enum Input {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Resize(u16, u16),
    /// Text pasted into the terminal.
    Paste(String),
    /// A delivery is new, or has changed.
    Changed(Arc<Delivery>),
    /// A delivery was deleted.
    Removed(Id),
    /// Changes were missed: these are all deliveries, oldest first.
    Reset(Vec<Arc<Delivery>>),
    /// The tunnel's state has changed.
    Status(Status),
    /// One sentence that a person should see now.
    Notice(String),
    /// Time has passed. The loop sends it before every batch of inputs.
    Tick(Now),
    /// The bytes asked for by [`Effect::Load`].
    Loaded {
        delivery: Id,
        n: u32,
        result: Result<Box<Detail>, String>,
    },
    /// The answer to one of [`Effect::Replay`].
    Replayed {
        delivery: Id,
        result: Result<u32, String>,
    },
    /// End, as on SIGTERM.
    Stop,
}

/// What `update` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Load { delivery: Id, n: u32 },
    Replay(Vec<Id>),
    Copy(String),
    Mouse(bool),
    Quit,
}

/// Runs the screen until the user quits, `Input::Stop` comes, or the terminal goes away.
///
/// `events` are the terminal's, `inputs` everything else; a full `inputs` channel makes its
/// senders wait, so they should drop to [`Input::Reset`] rather than hold up a delivery.
///
/// # Errors
///
/// The terminal cannot be read or drawn to.
pub async fn run<B>(
    events: impl Stream<Item = io::Result<Event>>,
    inputs: mpsc::Receiver<Input>,
    backend: Arc<dyn Backend>,
    start: Start,
    terminal: Terminal<B>,
) -> io::Result<()>
where
    B: ratatui::backend::Backend,
    B::Error: Send + Sync + 'static,
{
    let size = terminal.size().map_err(io::Error::other)?;
    let model = Model::new(start, now(), size);
    Loop {
        model,
        backend,
        terminal,
        tasks: JoinSet::new(),
        replays: VecDeque::new(),
    }
    .run(events, inputs)
    .await
}

/// The loop's state. Loads and replays are its tasks and end with it.
struct Loop<B: ratatui::backend::Backend> {
    model: Model,
    backend: Arc<dyn Backend>,
    terminal: Terminal<B>,
    tasks: JoinSet<Input>,
    /// Replays that wait for their turn.
    replays: VecDeque<Id>,
}

impl<B> Loop<B>
where
    B: ratatui::backend::Backend,
    B::Error: Send + Sync + 'static,
{
    async fn run(
        mut self,
        events: impl Stream<Item = io::Result<Event>>,
        mut inputs: mpsc::Receiver<Input>,
    ) -> io::Result<()> {
        let mut events = pin!(events);
        let mut fed = true;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_frame = tokio::time::Instant::now();
        loop {
            if self.model.dirty && tokio::time::Instant::now() >= next_frame {
                self.draw()?;
                next_frame = tokio::time::Instant::now() + FRAME;
            }
            // Keys first: nobody waits for a burst. Every branch may be dropped between inputs.
            let first = tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(event) => input_of(event?),
                    None => Some(Input::Stop),
                },
                Some(done) = self.tasks.join_next() => done.ok(),
                input = inputs.recv(), if fed => {
                    fed = input.is_some();
                    input
                }
                () = tokio::time::sleep_until(next_frame), if self.model.dirty => None,
                _ = tick.tick() => {
                    self.model.dirty |= self.model.is_ticking();
                    None
                }
            };
            let mut flow = self.take(Input::Tick(now()))?;
            let mut next = first;
            for _ in 0..DRAIN {
                let Some(input) = next.take() else { break };
                flow = flow && self.take(input)?;
                next = inputs.try_recv().ok();
            }
            if let Some(input) = next {
                flow = flow && self.take(input)?;
            }
            if !flow {
                return Ok(());
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        self.model.size = self.terminal.size().map_err(io::Error::other)?;
        for effect in update::settle(&mut self.model) {
            self.perform(effect)?;
        }
        self.model.dirty = false;
        let model = &self.model;
        self.terminal
            .draw(|frame| view::draw(model, frame))
            .map_err(io::Error::other)?;
        Ok(())
    }

    /// Whether the program goes on.
    fn take(&mut self, input: Input) -> io::Result<bool> {
        let mut go_on = true;
        for effect in update::update(&mut self.model, input) {
            go_on = self.perform(effect)? && go_on;
        }
        // What the model waits for and no longer stands in line is under way.
        while self
            .model
            .replaying
            .len()
            .saturating_sub(self.replays.len())
            < REPLAYS
            && let Some(delivery) = self.replays.pop_front()
        {
            let answer = self.backend.replay(delivery);
            self.tasks.spawn(async move {
                Input::Replayed {
                    delivery,
                    result: answer.await,
                }
            });
        }
        Ok(go_on)
    }

    fn perform(&mut self, effect: Effect) -> io::Result<bool> {
        match effect {
            Effect::Load { delivery, n } => {
                let answer = self.backend.load(delivery, n);
                self.tasks.spawn(async move {
                    Input::Loaded {
                        delivery,
                        n,
                        result: answer.await.map(Box::new),
                    }
                });
            }
            Effect::Replay(ids) => self.replays.extend(ids),
            Effect::Copy(text) => self.backend.copy(&text)?,
            Effect::Mouse(on) => self.backend.mouse(on)?,
            Effect::Quit => return Ok(false),
        }
        Ok(true)
    }
}

fn input_of(event: Event) -> Option<Input> {
    match event {
        Event::Key(key) => Some(Input::Key(key)),
        Event::Mouse(mouse) => Some(Input::Mouse(mouse)),
        Event::Resize(width, height) => Some(Input::Resize(width, height)),
        Event::Paste(text) => Some(Input::Paste(text)),
        Event::FocusGained | Event::FocusLost => None,
    }
}

fn now() -> Now {
    Now {
        wall: Timestamp::now(),
        steady: Instant::now(),
    }
}
