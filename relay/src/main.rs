//! The public server. See `relay --help`.

mod flags;

use std::process::ExitCode;

fn main() -> ExitCode {
    flags::run()
}
