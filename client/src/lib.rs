//! The laptop program.

pub mod agent;
pub mod delivery;
pub mod embedded;
pub mod failure;
pub mod guard;
pub mod http;
pub mod inspector;
pub mod origin;
pub mod state;
pub mod status;
mod text;
pub mod tui;
