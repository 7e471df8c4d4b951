//! `cargo xtask test`: every check a change must pass, cheapest first.
//!
//! Stops at the first failure and prints the command that failed, to be run alone.
//! Nothing here fetches advisories or anything else a build does not need: once the dependencies
//! are in Cargo's cache, it works offline.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::debian;

/// Runs all steps in `root`, printing each with its time, then a summary.
pub(crate) fn run(root: &Path) -> ExitCode {
    let started = Instant::now();
    debian::install_missing();

    let tools = Tools::installed();
    let mut done: Vec<(&Step, Duration)> = Vec::new();
    let steps = steps(tools);
    for step in &steps {
        eprintln!("\n==> {}: {}", step.name, step.shown());
        let begun = Instant::now();
        let outcome = step.command().current_dir(root).status();
        let took = begun.elapsed();
        match outcome {
            Ok(status) if status.success() => {
                eprintln!("    {} passed in {}", step.name, seconds(took));
                done.push((step, took));
            }
            Ok(status) => {
                eprintln!(
                    "\nerror: {} failed after {} ({status})",
                    step.name,
                    seconds(took)
                );
                eprintln!("hint: run it alone with: {}", step.shown());
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("\nerror: {} could not be started", step.name);
                eprintln!("cause: {error}");
                return ExitCode::FAILURE;
            }
        }
    }

    eprintln!();
    for (step, took) in done {
        eprintln!("{:>10}  {}", seconds(took), step.name);
    }
    if !tools.deny {
        eprintln!(
            "{:>10}  dependencies: cargo-deny is not installed",
            "skipped"
        );
        eprintln!("{:>10}  get it with: cargo install --locked cargo-deny", "");
    }
    eprintln!("{:>10}  all passed", seconds(started.elapsed()));
    ExitCode::SUCCESS
}

/// Which of the optional Cargo commands answer on this machine.
#[derive(Clone, Copy)]
struct Tools {
    nextest: bool,
    deny: bool,
}

impl Tools {
    fn installed() -> Self {
        Self {
            nextest: answers("nextest"),
            deny: answers("deny"),
        }
    }
}

/// One Cargo command of the sequence.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
}

impl Step {
    const fn new(name: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            arguments,
            variable: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = cargo();
        command.args(self.arguments).envs(self.variable);
        command
    }

    /// The command as one would type it in a shell.
    fn shown(&self) -> String {
        let variable = self
            .variable
            .map(|(name, value)| format!("{name}='{value}' "));
        format!(
            "{}cargo {}",
            variable.unwrap_or_default(),
            self.arguments.join(" ")
        )
    }
}

/// The whole sequence for a machine with these tools.
///
/// Docs include private items: nothing is published, whoever reads them works on the code.
fn steps(tools: Tools) -> Vec<Step> {
    let mut steps = vec![
        Step::new("format", &["fmt", "--all", "--", "--check"]),
        Step::new(
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step {
            variable: Some(("RUSTDOCFLAGS", "-D warnings")),
            ..Step::new(
                "docs",
                &[
                    "doc",
                    "--workspace",
                    "--no-deps",
                    "--document-private-items",
                    "--locked",
                ],
            )
        },
    ];
    if tools.nextest {
        steps.push(Step::new(
            "tests",
            &["nextest", "run", "--workspace", "--locked"],
        ));
        // nextest does not run the examples in the docs.
        steps.push(Step::new(
            "doc tests",
            &["test", "--doc", "--workspace", "--locked"],
        ));
    } else {
        steps.push(Step::new("tests", &["test", "--workspace", "--locked"]));
    }
    if tools.deny {
        steps.push(Step::new(
            "dependencies",
            &["deny", "check", "bans", "licenses", "sources"],
        ));
    }
    steps
}

fn answers(subcommand: &str) -> bool {
    cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The Cargo that runs us, so that every step uses the same toolchain.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_examples_are_run_whichever_runner_there_is() {
        let with = shown(Tools {
            nextest: true,
            deny: false,
        });
        assert!(with.contains(&"cargo nextest run --workspace --locked".to_owned()));
        assert!(with.contains(&"cargo test --doc --workspace --locked".to_owned()));

        // Plain `cargo test` includes them.
        let without = shown(Tools {
            nextest: false,
            deny: false,
        });
        assert!(without.contains(&"cargo test --workspace --locked".to_owned()));
    }

    #[test]
    fn a_missing_optional_tool_is_never_called() {
        let bare = shown(Tools {
            nextest: false,
            deny: false,
        })
        .join("\n");
        assert!(
            !bare.contains("nextest") && !bare.contains("deny check"),
            "{bare}"
        );
    }

    #[test]
    fn a_shown_command_carries_its_variable() {
        let docs = shown(Tools {
            nextest: false,
            deny: false,
        })
        .into_iter()
        .find(|line| line.contains("cargo doc"))
        .expect("docs are a step");
        assert!(
            docs.starts_with("RUSTDOCFLAGS='-D warnings' cargo doc"),
            "{docs}"
        );
    }

    fn shown(tools: Tools) -> Vec<String> {
        steps(tools).iter().map(Step::shown).collect()
    }
}
