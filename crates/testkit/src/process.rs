//! A runtime of its own for one program of the world, so that it can be killed like a process.

use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Tasks that block (one SQLite statement, one look-up) have so long to end.
const BLOCKED: Duration = Duration::from_secs(5);

/// Where a program's tasks run. Dropped, they are gone at once: no goodbye is sent, sockets close.
#[derive(Debug)]
pub struct Process {
    runtime: Option<Runtime>,
}

impl Process {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// When the system gives no thread.
    pub fn new(name: &str) -> Process {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .expect("a runtime");
        Process {
            runtime: Some(runtime),
        }
    }

    /// Runs `work` in it and waits for the result.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.handle().spawn(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// To start tasks in it.
    pub fn handle(&self) -> &Handle {
        // Only `drop` takes it.
        self.runtime.as_ref().expect("it runs").handle()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A thread of its own: a runtime must not be ended from inside another.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(BLOCKED)).join();
            if ended.is_err() && !std::thread::panicking() {
                panic!("a process did not end");
            }
        }
    }
}
