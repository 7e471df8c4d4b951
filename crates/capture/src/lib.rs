//! The record of what passed: written, kept, searched, watched.

mod record;

pub use record::{
    Attempt, Body, BodyEnd, Delivery, Fields, Id, Outcome, Request, Response, Retry, Timestamp,
    Timing, Trigger, field,
};
