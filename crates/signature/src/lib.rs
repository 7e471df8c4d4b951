//! Did the provider really send this?

mod verdict;

pub use verdict::{Hint, Judgement, Verdict};
