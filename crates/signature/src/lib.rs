//! Did the provider really send this?
//!
//! A provider is a row of data ([`Provider::parse`]); the built-in ones are in [`Catalogue`].
//! Given a message as it arrived and the configured keys, it gives a [`Judgement`]; when that is
//! not `valid`, it can look for what would have matched. It can sign too, so that a replay is not
//! refused for its age.
//!
//! ```text
//! Message + Keys ─► Provider::verify  ─► Judgement
//!                   Provider::explain ─► Hint
//! Unsigned + Secret ─► Provider::sign ─► headers to set
//! ```
//!
//! Pure: no I/O, no clock (the time of arrival is part of the message), no panic on any input, and
//! every loop is bounded. Secrets are compared in one module, in constant time, and are in no
//! message that leaves the crate.

mod catalogue;
mod cloudvno;
mod encoding;
mod explain;
mod form;
mod json;
mod mac;
mod python;
mod request;
mod row;
mod scheme;
mod sign;
mod time;
mod unprintable;
mod url;
mod verdict;
mod verify;

pub use catalogue::Catalogue;
pub use explain::Context;
pub use mac::Secret;
pub use request::Message;
pub use scheme::{Confidence, ParseError, Provider, Schedule, Strength};
pub use sign::{SignError, Unsigned};
pub use verdict::{Hint, Judgement, Verdict};
pub use verify::{Keys, MAX_SECRETS};
