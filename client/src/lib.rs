//! The laptop program, as a library: what `main` and the tests drive.
//!
//! A stream of the tunnel comes in at [`agent`], becomes a request in [`delivery`], is judged by
//! [`guard`], sent to the app in `attempt` through [`origin`], and shown by the faces: [`tui`], [`web`], [`plain`].

pub mod agent;
mod attempt;
pub mod commands;
pub mod config;
mod curl;
pub mod delivery;
pub mod embedded;
pub mod events;
pub mod failure;
pub mod flags;
pub mod guard;
pub mod http;
pub mod inspector;
pub mod json;
pub mod origin;
pub mod plain;
pub mod records;
pub mod rules;
pub mod sample;
pub mod secrets;
pub mod sender;
mod signals;
pub mod state;
pub mod status;
mod text;
pub mod tui;
pub mod web;
