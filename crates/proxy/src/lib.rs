//! One HTTP exchange carried from one side to the other. Knows no tunnel: it is given something
//! that reads and writes.
//!
//! [`http1`] reads and writes HTTP/1 (strictly, keeping order and spelling), [`headers`] says what
//! a proxy must change, [`frames`] moves an exchange over a stream, [`cause`] says whose fault a
//! failure was.

pub mod cause;
pub mod frames;
pub mod headers;
pub mod http1;

pub use cause::Cause;
pub use frames::{FrameReader, FrameWriter};
