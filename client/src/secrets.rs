//! Where secrets come from: never from the config file itself.

use crate::failure::{Exit, Failure};
use std::io::{BufRead, IsTerminal, Write};

/// The environment variable that holds a provider's secret, such as `ADIT_SECRET_CLOUDVNO`.
pub fn variable(provider: &str) -> String {
    format!(
        "ADIT_SECRET_{}",
        provider.to_ascii_uppercase().replace('-', "_")
    )
}

/// Reads a secret from its source: `env:NAME`, `file:PATH`, `-` (one line from stdin), or the
/// value itself. No error repeats what was given.
///
/// # Errors
///
/// [`Exit::Configuration`] when the source has nothing.
pub fn source(text: &str) -> Result<String, Failure> {
    let missing = |what: String| Failure::new(Exit::Configuration, what);
    if let Some(name) = text.strip_prefix("env:") {
        return match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            _ => Err(missing(format!("the variable {name} holds no secret"))
                .hint(format!("set it: export {name}=…"))),
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        let value = std::fs::read_to_string(path)
            .map_err(|error| missing(format!("{path} cannot be read")).because(&error))?;
        let value = value.strip_suffix('\n').unwrap_or(&value);
        let value = value.strip_suffix('\r').unwrap_or(value);
        return match value.is_empty() {
            true => Err(missing(format!("{path} holds no secret"))),
            false => Ok(value.to_owned()),
        };
    }
    if text.starts_with("keyring:") {
        return Err(
            missing(String::from("the keyring is not supported by this version"))
                .hint("use env:NAME or file:PATH"),
        );
    }
    if text == "-" {
        return prompt();
    }
    match text.is_empty() {
        true => Err(missing(String::from("an empty secret verifies nothing"))),
        false => Ok(text.to_owned()),
    }
}

/// One line from stdin; from a terminal without showing it.
fn prompt() -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Configuration, "no secret could be read from stdin").because(&error)
    };
    let mut line = String::new();
    if std::io::stdin().is_terminal() {
        eprint!("secret: ");
        let _ = std::io::stderr().flush();
        crossterm::terminal::enable_raw_mode().map_err(failed)?;
        let typed = typed(&mut line);
        let _ = crossterm::terminal::disable_raw_mode();
        eprintln!();
        typed.map_err(failed)?;
    } else {
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(failed)?;
    }
    let line = line.trim_end_matches(['\r', '\n']);
    match line.is_empty() {
        true => Err(Failure::new(
            Exit::Configuration,
            "no secret came from stdin",
        )),
        false => Ok(line.to_owned()),
    }
}

fn typed(line: &mut String) -> std::io::Result<()> {
    use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
    loop {
        let Event::Key(key) = crossterm::event::read()? else {
            continue;
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            KeyCode::Char(c) => line.push(c),
            KeyCode::Backspace => {
                line.pop();
            }
            _ => {}
        }
    }
}
