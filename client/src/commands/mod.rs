//! The subcommands, one file each.

pub mod demo;
pub mod http;
pub mod list;
pub mod replay;
pub mod send;
pub mod show;
pub mod verify;
