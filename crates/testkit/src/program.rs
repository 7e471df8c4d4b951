//! A real program with an empty home: its lines, its end, its exit code.

use crate::soon;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A program that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
}

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed and nobody read.
    pub out: String,
    /// What it said beside that.
    pub err: String,
}

impl Program {
    /// Starts `binary` with these arguments and a home of its own in `home`; nothing of the
    /// environment but `PATH` reaches it. More variables come from `set`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(binary: &str, home: &Path, arguments: &[&str], set: &[(&str, &str)]) -> Program {
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .envs(set.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{binary} does not start: {error}"));
        let out = child.stdout.take().expect("stdout is piped");
        Program {
            child,
            out: BufReader::new(out).lines(),
        }
    }

    /// Runs a program to its end.
    pub async fn run(binary: &str, home: &Path, arguments: &[&str], set: &[(&str, &str)]) -> Ended {
        Program::start(binary, home, arguments, set).end().await
    }

    /// Its next line.
    ///
    /// # Panics
    ///
    /// When it ends without one; with what it said.
    pub async fn line(&mut self) -> String {
        let line = soon("a line of the program", self.out.next_line()).await;
        match line.expect("its lines are text") {
            Some(line) => line,
            None => {
                let mut said = String::new();
                if let Some(err) = &mut self.child.stderr {
                    let _ = err.read_to_string(&mut said).await;
                }
                panic!("the program ended: {said}");
            }
        }
    }

    /// Its next line with this piece.
    pub async fn line_with(&mut self, piece: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(piece) {
                return line;
            }
        }
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn end(mut self) -> Ended {
        let mut err = self.child.stderr.take().expect("stderr is piped");
        let (mut out, mut said) = (String::new(), String::new());
        let read = async {
            let lines = async {
                while let Ok(Some(line)) = self.out.next_line().await {
                    out.push_str(&line);
                    out.push('\n');
                }
            };
            let _ = tokio::join!(lines, err.read_to_string(&mut said));
        };
        soon("the program ends", read).await;
        let status = soon("the program ends", self.child.wait()).await;
        Ended {
            code: status.expect("its status").code(),
            out,
            err: said,
        }
    }
}
