//! What is recorded and not yet written. Bounded in jobs and in bytes; pushing never waits.
//!
//! A job needs room before it is pushed ([`Queue::reserve`]); the room is given back when the
//! writer is done with it. Without room the recorder first leaves the bodies out, then the job:
//! the row is then written from memory once the writer has caught up.

use crate::record::{Delivery, Id, Request, Response};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the writer lets jobs gather once the first has come. An exchange is often over by
/// then, and its three jobs become one write; a `kill -9` loses no more than this.
const GATHER: Duration = Duration::from_millis(10);

/// One thing to write.
#[derive(Debug)]
pub(crate) enum Job {
    /// A delivery, one attempt of it, and what came to an end with it.
    Save(Box<Save>),
    /// Forget these deliveries; the answer is `Err` with the reason when the disk refuses.
    Remove(Vec<Id>, oneshot::Sender<Result<(), String>>),
    /// Forget everything.
    Clear(oneshot::Sender<Result<(), String>>),
}

/// A delivery as it is now, and attempt `n` of it.
#[derive(Debug)]
pub(crate) struct Save {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) about: Arc<About>,
    pub(crate) n: u32,
    pub(crate) request: Option<Arriving>,
    pub(crate) response: Option<Response>,
    /// The delivery that turned out to be this one: its row goes.
    pub(crate) gone: Option<Id>,
    /// The room this job holds in the queue.
    pub(crate) room: usize,
}

/// A request to write, and whether its end has come.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) request: Request,
    pub(crate) ended: bool,
}

/// What is kept of a delivery beside what everybody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// The sender's key for the event: equal keys are one delivery.
    pub(crate) group: Option<String>,
    /// The sender's retry schedule.
    pub(crate) schedule: Option<Vec<Duration>>,
}

/// The queue of one store. The recorders push, the writer thread takes.
#[derive(Debug)]
pub(crate) struct Queue {
    /// A lock and not a channel: the writer takes everything at once, and flushing must find room
    /// even in a full queue. Held for a few instructions.
    state: Mutex<State>,
    ready: Condvar,
    slots: usize,
    room: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: Vec<Job>,
    taken: usize,
    flushes: Vec<oneshot::Sender<()>>,
    /// The writer sleeps until there is a first job.
    asleep: bool,
    /// There are rows to write from memory.
    nudged: bool,
    closed: bool,
    /// The writer is gone: nothing is taken any more.
    ended: bool,
}

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Job>,
    /// To be told when the jobs are written, or cannot be.
    pub(crate) flushes: Vec<oneshot::Sender<()>>,
    /// No jobs will follow.
    pub(crate) closed: bool,
}

impl Queue {
    /// A queue of at most `slots` jobs that hold at most `room` bytes.
    pub(crate) fn new(slots: usize, room: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            ready: Condvar::new(),
            slots,
            room,
        }
    }

    /// Takes room for `bytes`. `false` when there is none: the queue is full.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let fits = !state.ended
            && state.jobs.len() < self.slots
            && state.taken.saturating_add(bytes) <= self.room;
        if fits {
            state.taken += bytes;
        }
        fits
    }

    /// Gives room back.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.taken = state.taken.saturating_sub(bytes);
    }

    /// Adds a job whose room is reserved.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.jobs.push(job);
        self.wake(&mut state, false);
    }

    /// Asks to be told when everything pushed so far is written, or cannot be.
    pub(crate) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        let mut state = self.lock();
        if state.ended {
            return told;
        }
        state.flushes.push(done);
        self.wake(&mut state, true);
        told
    }

    /// Lets the writer look for rows that were left out.
    pub(crate) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        self.wake(&mut state, false);
    }

    /// Lets the writer end once it has written what is here.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(&mut state, true);
    }

    /// For the writer, when it goes: nobody waits for it any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        *state = State {
            ended: true,
            ..State::default()
        };
    }

    /// For the writer: waits for a first job, then a little for more of them.
    pub(crate) fn take(&self) -> Batch {
        let mut state = self.lock();
        if state.is_idle() {
            state.asleep = true;
            while state.asleep {
                state = self
                    .ready
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.gather(state, GATHER)
    }

    /// For the writer when the disk refused: takes what is here after `wait`, or sooner when
    /// somebody flushes or the store closes.
    pub(crate) fn take_after(&self, wait: Duration) -> Batch {
        self.gather(self.lock(), wait)
    }

    /// For the writer: what is here now.
    pub(crate) fn drain(&self) -> Vec<Job> {
        std::mem::take(&mut self.lock().jobs)
    }

    fn gather(&self, state: MutexGuard<'_, State>, wait: Duration) -> Batch {
        let (mut state, _) = self
            .ready
            .wait_timeout_while(state, wait, |s| {
                s.flushes.is_empty() && !s.closed && s.jobs.len() < self.slots / 2
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.nudged = false;
        Batch {
            jobs: std::mem::take(&mut state.jobs),
            flushes: std::mem::take(&mut state.flushes),
            closed: state.closed,
        }
    }

    /// Waking costs a system call, so only a sleeping or an awaited writer is woken.
    fn wake(&self, state: &mut State, at_once: bool) {
        if state.asleep || at_once || state.jobs.len() == self.slots / 2 {
            state.asleep = false;
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.flushes.is_empty() && !self.nudged && !self.closed
    }
}
