//! What a contributor and CI run, so that both run the same: `cargo xtask test`.
//!
//! [`mod@test`] holds the checks and their order, [`debian`] what the tests need besides Rust,
//! [`picture`] takes the README's picture. The laws of the house are a test of this crate:
//! `tests/laws.rs`.

mod debian;
mod picture;
mod test;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Run what CI runs

Usage: cargo xtask <TASK>

Tasks:
  test     Check formatting, lints, docs, tests and dependencies; stops at the first that fails
  picture  Take the README's picture of the terminal UI anew; needs tmux
  help     Print this
";

const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["test"] => test::run(&workspace_root()),
        ["picture"] => match picture::take(&workspace_root()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: no picture was taken");
                eprintln!("cause: {error}");
                ExitCode::FAILURE
            }
        },
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [] => {
            eprint!("{HELP}");
            ExitCode::from(WRONG_USAGE)
        }
        _ => {
            eprintln!("error: no task `{}`", words.join(" "));
            eprintln!("hint: see what there is with: cargo xtask help");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// The folder of the root manifest. Cargo's word at run time goes first: a target folder that was
/// moved or cached still holds the place it was compiled in.
fn workspace_root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(here).join("../..")
}
