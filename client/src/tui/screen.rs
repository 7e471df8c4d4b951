//! The terminal, taken and given back.

use base64::Engine as _;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Holds the terminal in raw mode on its alternate screen until dropped.
///
/// A panic of the thread that draws gives the terminal back before its message is printed, so the
/// message can be read. One of another thread is that task's end and not the screen's: it is
/// logged, and the screen stays.
#[derive(Debug)]
#[must_use = "the terminal is given back when this is dropped"]
pub struct Screen {
    /// Cleared by whoever gives the terminal back first.
    held: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal that stdout is.
    ///
    /// # Errors
    ///
    /// Stdout is not a terminal, or it refuses; nothing is left changed then.
    pub fn enter() -> io::Result<Screen> {
        enable_raw_mode()?;
        let held = Arc::new(AtomicBool::new(true));
        let screen = Screen { held: held.clone() };
        let before = std::panic::take_hook();
        let drawing = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == drawing || !held.load(Ordering::SeqCst) {
                give_back(&held);
                before(info);
            } else {
                tracing::error!("{info}");
            }
        }));
        execute!(
            io::stdout(),
            EnterAlternateScreen,
            EnableMouseCapture,
            EnableBracketedPaste,
            cursor::Hide
        )?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.held);
    }
}

/// Undoes [`Screen::enter`], once. There is nobody left to tell when it fails.
fn give_back(held: &AtomicBool) {
    if held.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            DisableBracketedPaste,
            DisableMouseCapture,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = disable_raw_mode();
    }
}

/// Puts `text` on the clipboard of the terminal, also over SSH (OSC 52).
///
/// # Errors
///
/// Stdout cannot be written.
pub(super) fn copy(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}", osc52(text))?;
    out.flush()
}

fn osc52(text: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("\x1b]52;c;{encoded}\x1b\\")
}

/// Turns the reporting of mouse events on or off.
///
/// # Errors
///
/// Stdout cannot be written.
pub(super) fn mouse(on: bool) -> io::Result<()> {
    match on {
        true => execute!(io::stdout(), EnableMouseCapture),
        false => execute!(io::stdout(), DisableMouseCapture),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clipboard_text_cannot_end_its_sequence() {
        assert_eq!(super::osc52("hi\x1b\\"), "\x1b]52;c;aGkbXA==\x1b\\");
    }
}
