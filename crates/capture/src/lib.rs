//! The record of what passed: written, kept, searched, watched.
//!
//! ```text
//! exchange ─► Recorder ─► model (in memory, at once) ─► Feed ─► whoever watches
//!                             └─► queue (bounded) ─► writer thread ─► SQLite ─► list, request, …
//! ```
//!
//! Recording never waits and never fails: what the disk cannot take is dropped from the record,
//! and the record says so. What is shown live comes from memory; exact bytes come from SQLite.
//!
//! Not here: what a request means (`signature`), how it travels (`proxy`), how it is shown.

mod feed;
mod fields;
mod model;
mod queue;
mod record;
mod recorder;
mod retry;
mod schema;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use feed::{Change, Feed};
pub use record::{
    Attempt, Body, BodyEnd, Delivery, Fields, Id, Outcome, Request, Response, Retry, Timestamp,
    Timing, Trigger, field,
};
pub use recorder::{Arrival, Failure, Received, Recorder};
pub use store::{
    FILE_NAME, Health, Limits, OpenError, Query, ReadError, RemoveError, Resolved, Store,
};
