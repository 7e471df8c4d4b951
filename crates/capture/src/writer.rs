//! The one thread that writes: takes what is queued, writes it in one transaction, forgets what
//! is too old.
//!
//! When the disk refuses, it keeps what it holds, says so in the store's health, and tries again
//! every [`RETRY`]; meanwhile the queue fills and recorders leave bodies out. It ends when the
//! last handle of the store is dropped, after writing what is left.

use crate::model::Model;
use crate::queue::{Batch, Job, Save};
use crate::record::Id;
use crate::schema::{self, Line};
use crate::store::{Inner, Limits, run_lock};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Between two tries while the disk refuses. Somebody who frees space sees it noticed at once.
const RETRY: Duration = Duration::from_secs(2);

/// Flushing tries at once, but no more often than this.
const RETRY_ASKED: Duration = Duration::from_millis(200);

/// Deliveries that one transaction removes for being too old: some milliseconds of work.
const PRUNE_AT_ONCE: usize = 500;

/// Free pages in the file, of 4 KiB, that are worth giving back to the disk.
const FREE_PAGES: i64 = 4096;

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) inner: Arc<Inner>,
    pub(crate) connection: Arc<Mutex<Connection>>,
    pub(crate) run: Run,
    /// Attempts whose number another process had taken, with the number they got.
    pub(crate) numbers: HashMap<(Id, u32), u32>,
}

/// This process among those that record into the file.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    /// Where its lock file goes; `None` for a store in memory.
    pub(crate) folder: Option<PathBuf>,
    /// Held while we live, so that others leave our pending attempts alone.
    pub(crate) lock: Option<File>,
    /// Whether its row is written.
    pub(crate) known: bool,
}

/// Why a transaction did not go through.
enum Refusal {
    /// The disk or the file is at fault; the same may work later.
    Later(String),
    /// SQLite will never take these rows.
    Never(rusqlite::Error),
}

impl Writer {
    /// Writes until the queue is closed.
    pub(crate) fn run(mut self) {
        let mut held: Vec<Job> = Vec::new();
        let mut stopped: Option<Instant> = None;
        loop {
            let Batch {
                jobs,
                flushes,
                closed,
            } = match stopped {
                None => self.model().queue.take(),
                Some(_) => self.model().queue.take_after(RETRY),
            };
            held.extend(jobs);
            if closed || stopped.is_none_or(|tried| tried.elapsed() >= RETRY_ASKED) {
                match self.write_held(&mut held) {
                    Ok(()) => {
                        if stopped.take().is_some() {
                            info!("recording again");
                        }
                        self.inner.set_health(None);
                    }
                    Err(why) => {
                        if stopped.is_none() {
                            warn!(why, "recording stopped");
                        }
                        stopped = Some(Instant::now());
                        self.inner.set_health(Some(why));
                    }
                }
            }
            if let Some(why) = stopped.and_then(|_| self.inner.stopped()) {
                refuse_removals(&mut held, &why);
            }
            for flush in flushes {
                // Whoever asked may have gone.
                let _ = flush.send(());
            }
            if closed {
                break;
            }
        }
        self.sign_off();
    }

    /// Writes what is held, then the rows that only memory has.
    fn write_held(&mut self, held: &mut Vec<Job>) -> Result<(), String> {
        self.write_jobs(held)?;
        while self.model().has_unsaved() {
            held.extend(self.model().take_unsaved());
            self.write_jobs(held)?;
        }
        Ok(())
    }

    /// Writes the jobs and takes them out of `jobs`; those the disk refused stay.
    fn write_jobs(&mut self, jobs: &mut Vec<Job>) -> Result<(), String> {
        if jobs.is_empty() {
            return Ok(());
        }
        match self.write(jobs) {
            Ok(()) => {
                for job in jobs.drain(..) {
                    self.done(job);
                }
                Ok(())
            }
            Err(Refusal::Later(why)) => Err(why),
            Err(Refusal::Never(_)) => {
                // One of them is at fault: each alone, and the culprit goes.
                while !jobs.is_empty() {
                    match self.write(&jobs[..1]) {
                        Ok(()) => {}
                        Err(Refusal::Later(why)) => return Err(why),
                        Err(Refusal::Never(error)) => {
                            warn!(%error, "a record was refused and is lost");
                            self.inner.count_dropped();
                        }
                    }
                    let job = jobs.remove(0);
                    self.done(job);
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, jobs: &[Job]) -> Result<(), Refusal> {
        self.sign_on()?;
        let connection = self.connection.clone();
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = Vec::new();

        // What a person asks to forget is overwritten, not only marked as free.
        let asked = jobs.iter().any(|job| !matches!(job, Job::Save(_)));
        if asked {
            connection.pragma_update(None, "secure_delete", true)?;
        }
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !self.run.known {
            change.execute(
                "INSERT OR IGNORE INTO run (id, pid) VALUES (?, ?)",
                (&self.run.id, std::process::id()),
            )?;
        }
        let mut saves: Vec<&Save> = Vec::new();
        for job in jobs {
            match job {
                Job::Save(save) => saves.push(save),
                Job::Remove(ids, _) => {
                    self.write_saves(&change, &mut saves, &mut numbers)?;
                    for id in ids {
                        schema::remove(&change, *id)?;
                    }
                }
                Job::Clear(_) => {
                    self.write_saves(&change, &mut saves, &mut numbers)?;
                    change.execute("DELETE FROM delivery", [])?;
                }
            }
        }
        self.write_saves(&change, &mut saves, &mut numbers)?;
        let too_old = prune(&change, &self.inner.limits)?;
        change.commit()?;

        self.run.known = true;
        self.numbers.extend(numbers);
        if asked {
            connection.pragma_update(None, "secure_delete", false)?;
        }
        give_back(&connection, jobs);
        drop(connection);
        if !too_old.is_empty() {
            self.model().forget(&too_old, false);
        }
        Ok(())
    }

    /// Writes the saves, those of one attempt as one: an exchange that was over before we looked
    /// costs one write and not three.
    fn write_saves(
        &self,
        connection: &Connection,
        saves: &mut Vec<&Save>,
        numbers: &mut Vec<((Id, u32), u32)>,
    ) -> rusqlite::Result<()> {
        let mut latest: HashMap<Id, &Save> = HashMap::new();
        let mut places: HashMap<(Id, u32), usize> = HashMap::new();
        let mut lines: Vec<Option<Line<'_>>> = Vec::new();
        for save in saves.drain(..) {
            let id = save.delivery.id;
            latest.insert(id, save);
            if let Some(gone) = save.gone
                && let Some(place) = places.remove(&(gone, 1))
            {
                lines[place] = None;
            }
            let line = Line {
                delivery: &save.delivery,
                about: &save.about,
                n: save.n,
                number: save.n,
                request: save.request.as_ref(),
                response: save.response.as_ref(),
                gone: save.gone,
            };
            let place = *places.entry((id, save.n)).or_insert(lines.len());
            match lines.get_mut(place) {
                Some(Some(known)) => {
                    known.request = line.request.or(known.request);
                    known.response = line.response.or(known.response);
                    known.gone = line.gone.or(known.gone);
                }
                Some(empty) => *empty = Some(line),
                None => lines.push(Some(line)),
            }
        }
        for mut line in lines.into_iter().flatten() {
            let key = (line.delivery.id, line.n);
            if let Some(newest) = latest.get(&key.0) {
                line.delivery = &newest.delivery;
                line.about = &newest.about;
            }
            let known = numbers.iter().rev().find(|(k, _)| *k == key);
            let known = known.map(|(_, n)| n).or_else(|| self.numbers.get(&key));
            line.number = known.copied().unwrap_or(line.n);
            let number = schema::save(connection, &self.run.id, &line)?;
            if number != line.number {
                numbers.push((key, number));
            }
        }
        Ok(())
    }

    /// Takes this run's lock before its row can be seen.
    fn sign_on(&mut self) -> Result<(), Refusal> {
        let Some(folder) = &self.run.folder else {
            return Ok(());
        };
        if self.run.lock.is_none() {
            let lock = File::create(run_lock(folder, &self.run.id)).map_err(|e| {
                Refusal::Later(format!("cannot write to {}: {e}", folder.display()))
            })?;
            // The name is ours alone; where locks are not to be had, we live without.
            let _ = lock.try_lock();
            self.run.lock = Some(lock);
        }
        Ok(())
    }

    /// Leaves nothing of this run behind but its records.
    fn sign_off(&mut self) {
        if self.run.known {
            let connection = self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // If this fails, the next start finds the lock free and does it.
            let _ = connection.execute("DELETE FROM run WHERE id = ?", [&self.run.id]);
        }
        if let (Some(folder), Some(_)) = (&self.run.folder, self.run.lock.take()) {
            let _ = std::fs::remove_file(run_lock(folder, &self.run.id));
        }
    }

    fn done(&self, job: Job) {
        match job {
            Job::Save(save) => self.model().queue.release(save.room),
            Job::Remove(_, answer) | Job::Clear(answer) => {
                let _ = answer.send(Ok(()));
            }
        }
    }

    fn model(&self) -> &Model {
        &self.inner.model
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inner.model.queue.end();
        if std::thread::panicking() {
            self.inner
                .set_health(Some(String::from("the recording thread broke down")));
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        match disk_words(&error) {
            Some(why) => Refusal::Later(why),
            None => Refusal::Never(error),
        }
    }
}

/// What is wrong with the disk or the file, in words; `None` when neither is at fault.
pub(crate) fn disk_words(error: &rusqlite::Error) -> Option<String> {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return None;
    };
    let words = match failure.code {
        ErrorCode::DiskFull => "disk full",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another process holds the file",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => "the file cannot be written",
        ErrorCode::CannotOpen => "the file cannot be opened",
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => "the file is damaged",
        ErrorCode::OutOfMemory => "out of memory",
        ErrorCode::SystemIoFailure => return Some(format!("disk error: {failure}")),
        _ => return None,
    };
    Some(String::from(words))
}

/// Nobody waits for a removal until the disk is back: it is refused.
fn refuse_removals(held: &mut Vec<Job>, why: &str) {
    let kept = std::mem::take(held)
        .into_iter()
        .filter_map(|job| match job {
            Job::Remove(_, answer) | Job::Clear(answer) => {
                let _ = answer.send(Err(String::from(why)));
                None
            }
            save => Some(save),
        });
    held.extend(kept);
}

/// Removes the oldest deliveries beyond the limits. Returns which.
fn prune(connection: &Connection, limits: &Limits) -> rusqlite::Result<Vec<Id>> {
    let limit = i64::try_from(limits.deliveries).unwrap_or(i64::MAX);
    // Counting walks the table, so it is counted only when it may be too long.
    let span: i64 = connection
        .prepare_cached(
            "SELECT coalesce((SELECT max(seq) FROM delivery) - (SELECT min(seq) FROM delivery), -1) + 1",
        )?
        .query_row([], |row| row.get(0))?;
    let mut count = span;
    if span > limit {
        count = connection
            .prepare_cached("SELECT count(*) FROM delivery")?
            .query_row([], |row| row.get(0))?;
    }
    let mut removed = Vec::new();
    while removed.len() < PRUNE_AT_ONCE
        && count > 1
        && (count > limit || used(connection)? > limits.bytes)
    {
        let id: String = connection
            .prepare_cached(
                "DELETE FROM delivery WHERE seq = (SELECT min(seq) FROM delivery) RETURNING id",
            )?
            .query_row([], |row| row.get(0))?;
        removed.extend(Id::parse(&id));
        count -= 1;
    }
    Ok(removed)
}

/// Bytes of the file that hold records.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let mut numbers = [0_i64; 3];
    for (number, pragma) in numbers
        .iter_mut()
        .zip(["page_count", "freelist_count", "page_size"])
    {
        *number = connection
            .prepare_cached(&format!("PRAGMA {pragma}"))?
            .query_row([], |row| row.get(0))?;
    }
    let [pages, free, size] = numbers;
    Ok(u64::try_from((pages - free) * size).unwrap_or(0))
}

/// Gives free pages back to the disk: a few at a time when most of the file is free, all of them
/// when it was cleared. After anything a person removed, the log goes too: it holds old pages.
fn give_back(connection: &Connection, jobs: &[Job]) {
    let cleared = jobs.iter().any(|job| matches!(job, Job::Clear(_)));
    let removed = jobs.iter().any(|job| matches!(job, Job::Remove(..)));
    let count = |pragma: &str| -> i64 {
        connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap_or(0)
    };
    let free = count("freelist_count");
    // Each step of these statements does a part of the work.
    let all_steps = |sql: &str| -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    let pages = if cleared {
        all_steps("PRAGMA incremental_vacuum")
    } else if free > FREE_PAGES && free * 2 > count("page_count") {
        all_steps("PRAGMA incremental_vacuum(1024)")
    } else {
        Ok(())
    };
    let log = if cleared || removed {
        all_steps("PRAGMA wal_checkpoint(TRUNCATE)")
    } else {
        Ok(())
    };
    for error in [pages, log].into_iter().filter_map(Result::err) {
        // The records are as they should be; only space is not given back yet.
        debug!(%error, "free space stays in the file");
    }
}
