//! What went wrong, for a person: what happened, why, what next, and the exit code.

use std::error::Error;

/// An exit code of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The thing failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration or the state folder is of no use.
    Configuration = 3,
    /// The relay refused: token or name.
    Refused = 4,
    /// The relay is not reachable.
    Unreachable = 5,
    /// An expectation was not met.
    Unmet = 6,
    /// Interrupted.
    Interrupted = 130,
}

/// What went wrong.
#[derive(Debug)]
pub struct Failure {
    /// What happened, to what.
    pub error: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: Exit,
}

impl Failure {
    /// What happened, without a cause.
    pub fn new(exit: Exit, error: impl Into<String>) -> Failure {
        Failure {
            error: error.into(),
            causes: Vec::new(),
            hint: None,
            exit,
        }
    }

    /// An error with its sources as causes.
    pub fn from_error(exit: Exit, error: &dyn Error) -> Failure {
        let failure = Failure::new(exit, error.to_string());
        match error.source() {
            Some(source) => failure.because(source),
            None => failure,
        }
    }

    /// Adds an error and its sources as causes.
    #[must_use]
    pub fn because(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// `error:`, `cause:` and `hint:` lines. Controls in them are shown, not obeyed: parts may
    /// come from a relay or a file.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", visible(&self.error))];
        lines.extend(
            self.causes
                .iter()
                .map(|cause| format!("cause: {}", visible(cause))),
        );
        lines.extend(
            self.hint
                .iter()
                .map(|hint| format!("hint: {}", visible(hint))),
        );
        lines
    }

    /// Prints the lines to stderr.
    pub fn print(&self) {
        for line in self.lines() {
            eprintln!("{line}");
        }
    }
}

/// Text from outside as it may stand on one line of a terminal: controls and characters that
/// change how text runs are written as escapes.
pub fn visible(text: &str) -> String {
    crate::text::visible(text).into_owned()
}
