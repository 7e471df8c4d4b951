//! The laptop program.

pub mod status;
