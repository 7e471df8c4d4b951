//! The command line.

use crate::commands;
use crate::failure::{Exit, Failure};
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(
    name = "client",
    version,
    about = "A public HTTPS URL for your local app, and every webhook that comes to it on record"
)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Give a local HTTP app a public HTTPS name
    Http(Box<commands::http::Http>),
    /// List recorded deliveries, newest last
    List(commands::list::List),
    /// Show one recorded delivery
    Show(commands::show::Show),
    /// Send recorded deliveries to the app again
    Replay(commands::replay::Replay),
    /// Sign and send a provider's event, as the provider would
    Send(commands::send::Send),
    /// Judge the signature of a request from a file
    Verify(commands::verify::Verify),
    /// See everything at once on this machine, with nothing to set up
    Demo(commands::demo::Demo),
}

/// Parses, runs, and turns the outcome into an exit code.
pub fn run() -> ExitCode {
    let flags = Flags::parse();
    let outcome = log(&flags).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        runtime.block_on(async {
            match flags.command {
                Command::Http(flags) => commands::http::run(*flags).await,
                Command::List(flags) => commands::list::run(flags).await,
                Command::Show(flags) => commands::show::run(flags).await,
                Command::Replay(flags) => commands::replay::run(flags).await,
                Command::Send(flags) => commands::send::run(flags).await,
                Command::Verify(flags) => commands::verify::run(flags),
                Command::Demo(flags) => commands::demo::run(flags).await,
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.error.is_empty() {
                failure.print();
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Logs to the file that was asked for; else to stderr, but never onto the terminal UI.
fn log(flags: &Flags) -> Result<(), Failure> {
    let Command::Http(http) = &flags.command else {
        return Ok(());
    };
    let level = http
        .log_level
        .clone()
        .unwrap_or_else(|| String::from("warn,quinn_udp=error"));
    let filter = EnvFilter::try_new(&level).map_err(|error| {
        Failure::new(Exit::Usage, format!("{level:?} is no log level")).because(&error)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match &http.log {
        Some(path) => {
            let file = relay::store::private_file(path).map_err(|error| {
                Failure::new(
                    Exit::Configuration,
                    format!("{} cannot be written", path.display()),
                )
                .because(&error)
            })?;
            builder
                .with_ansi(false)
                .with_writer(std::sync::Mutex::new(file))
                .init();
        }
        None if http.face() == commands::http::Face::Screen => {}
        None => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init(),
    }
    Ok(())
}
