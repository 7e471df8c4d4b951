//! The handle of the record: opens it, hands out recorders, reads.
//!
//! A store is a folder with one SQLite file in it (write-ahead log, so that readers never wait for
//! the writer). Several processes may have it open. Each writes through its own thread; reading
//! asks SQLite, so that it sees what all of them wrote, and happens on blocking threads.

use crate::feed::Feed;
use crate::model::{Known, Model};
use crate::queue::Job;
use crate::record::{Delivery, Id, REFUSED, Request, Response, Timestamp};
use crate::recorder::{Arrival, Recorder};
use crate::schema;
use crate::writer::{Run, Writer, disk_words};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use std::collections::HashMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

/// The file in the store's folder.
pub const FILE_NAME: &str = "capture.sqlite3";

/// How long one process waits for another that is writing. Transactions take milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// Bytes of exact records that a store in memory keeps.
const IN_MEMORY_BYTES: u64 = 64 << 20;

/// The shortest piece of an id that names a request.
const SHORTEST_ID: usize = 4;

/// How much is kept.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes kept of each body. 10 MiB; what comes after is forwarded and counted.
    pub body: usize,
    /// Deliveries kept in the file. 10,000; the oldest go first.
    pub deliveries: usize,
    /// Bytes the records may take in the file. 1 GiB; the oldest go first. A store in memory
    /// takes 64 MiB at most.
    pub bytes: u64,
    /// Deliveries whose summaries are in memory, shown live and known by their group. 10,000.
    pub in_memory: usize,
    /// Jobs that wait for the disk. 8,192: a second of a flood.
    pub queue: usize,
    /// Bytes that wait for the disk. 64 MiB. When this or `queue` is full, bodies are dropped from
    /// the record.
    pub queue_bytes: usize,
    /// Bytes of bodies that are still streaming, together. 64 MiB; beyond it the rest of a body
    /// is dropped from the record.
    pub live_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 10 << 20,
            deliveries: 10_000,
            bytes: 1 << 30,
            in_memory: 10_000,
            queue: 8192,
            queue_bytes: 64 << 20,
            live_bytes: 64 << 20,
        }
    }
}

/// Whether what passes is being recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything is.
    Recording {
        /// Bodies that were dropped from the record since the store was opened.
        dropped: u64,
    },
    /// The disk refuses. Summaries stay in memory; recording goes on by itself when it can.
    Stopped {
        /// In a few words, such as `disk full`.
        why: String,
        /// Bodies that were dropped from the record since the store was opened.
        dropped: u64,
    },
}

impl Health {
    /// Bodies that were dropped from the record since the store was opened.
    pub fn dropped(&self) -> u64 {
        match self {
            Health::Recording { dropped } | Health::Stopped { dropped, .. } => *dropped,
        }
    }

    /// Why nothing is recorded; `None` while it is.
    pub fn why(&self) -> Option<&str> {
        match self {
            Health::Recording { .. } => None,
            Health::Stopped { why, .. } => Some(why),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder or the file in it cannot be made or written.
    #[error("cannot write to {path}")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A newer version of this program wrote the file.
    #[error("{path} was written by a newer version (schema {found}, this one knows {known})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema this program knows.
        known: u32,
    },
    /// The file is no database, or a damaged one. It is left as it is.
    #[error("{path} is damaged or no record of deliveries")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// SQLite cannot use the file for another reason.
    #[error("cannot open {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// What one can do about it.
    pub fn hint(&self) -> String {
        match self {
            OpenError::Unwritable { .. } | OpenError::Database { .. } => String::from(
                "choose another folder with --store, or record nothing with --store off",
            ),
            OpenError::Newer { .. } => {
                String::from("use the newer version, or choose another folder with --store")
            }
            OpenError::Corrupt { path, .. } => format!(
                "move it aside and start again: mv '{0}' '{0}.damaged'",
                path.display()
            ),
        }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// SQLite refused, or a record is damaged.
    #[error("the record cannot be read")]
    Database(#[from] rusqlite::Error),
    /// The program is ending, or memory for the store could not be had.
    #[error("the store is closed")]
    Closed,
}

/// Why something could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("nothing was removed: {why}")]
pub struct RemoveError {
    /// In a few words, such as `disk full`.
    pub why: String,
}

/// Which deliveries to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// At most this many, the newest.
    pub limit: usize,
    /// Only those that have failed: [`Delivery::is_failed`].
    pub failed_only: bool,
    /// Only those that contain this: in method, target, name, provider, event, sender's address or
    /// id, without regard to ASCII case; or byte for byte in header fields or bodies.
    pub text: Option<String>,
}

impl Default for Query {
    fn default() -> Query {
        Query {
            limit: 100,
            failed_only: false,
            text: None,
        }
    }
}

/// What a piece of an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This request of this delivery. For a delivery's own id, its first request.
    Found {
        /// The delivery.
        delivery: Id,
        /// The request.
        request: Id,
    },
    /// More than one: some of them, newest first.
    Ambiguous(Vec<Id>),
    /// None, or the piece is shorter than four characters.
    Unknown,
}

/// The record of what passed: a cheap handle, all clones of which are the same store.
///
/// When the last handle and the last [`Recorder`] are dropped, what is queued is written and the
/// file is closed; the drop waits for that. [`Store::flush`] first, and it has nothing to wait
/// for.
#[derive(Clone)]
pub struct Store {
    life: Arc<Life>,
}

/// What the handles and the writer share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) model: Model,
    pub(crate) limits: Limits,
    health: watch::Sender<Health>,
    /// Bytes of bodies that are streaming now.
    live: AtomicUsize,
}

#[derive(Debug)]
struct Life {
    inner: Arc<Inner>,
    path: Option<PathBuf>,
    /// `None` when memory for a store in memory could not be had.
    readers: Option<Readers>,
    writer: Option<JoinHandle<()>>,
    /// For the tests that fill the disk.
    #[cfg(test)]
    writing: Option<Arc<Mutex<Connection>>>,
}

/// Connections that read. Locked on blocking threads only, for one query.
#[derive(Debug)]
struct Readers {
    /// For single records.
    reader: Arc<Mutex<Connection>>,
    /// For lists and searches, which may take long.
    lister: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the store in the folder `path`, or makes it: the folder for its owner alone (0700),
    /// the file too (0600). Attempts that a killed process left pending become failed.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the folder cannot be written, or the file is damaged or of a newer
    /// version. Nothing is ever deleted.
    pub fn open(path: &Path, limits: Limits) -> Result<Store, OpenError> {
        make_folder(path)?;
        let file = path.join(FILE_NAME);
        make_file(&file)?;
        let wrong = |source| open_error(&file, source);

        let mut connection = connect(&file).map_err(wrong)?;
        set_up(&connection).map_err(wrong)?;
        schema::migrate(&mut connection).map_err(|e| match e {
            Ok(found) => OpenError::Newer {
                path: file.clone(),
                found,
                known: schema::known_version(),
            },
            Err(source) => wrong(source),
        })?;
        if let Err(error) = end_gone_runs(&mut connection, path) {
            match disk_words(&error) {
                // A full disk does not keep anybody from looking.
                Some(why) => warn!(why, "attempts of a killed process stay pending"),
                None => return Err(wrong(error)),
            }
        }
        let known = connection
            .unchecked_transaction()
            .and_then(|moment| newest_in_memory(&moment, limits.in_memory))
            .map_err(wrong)?;
        let readers = (reader(&file).map_err(wrong)?, reader(&file).map_err(wrong)?);

        let store = Store::start(Some(path), limits, connection, Some(readers))?;
        store.model().load(known);
        Ok(store)
    }

    /// A store that leaves nothing on the disk: the newest deliveries, live, up to 64 MiB.
    pub fn in_memory(limits: Limits) -> Store {
        let limits = Limits {
            deliveries: limits.deliveries.min(limits.in_memory),
            bytes: limits.bytes.min(IN_MEMORY_BYTES),
            ..limits
        };
        let opened = Connection::open_in_memory().and_then(|mut connection| {
            steady(&connection)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            schema::migrate(&mut connection)
                .map_err(|e| e.err().unwrap_or(rusqlite::Error::InvalidQuery))?;
            Ok(connection)
        });
        let started = opened
            .map_err(|source| open_error(Path::new(":memory:"), source))
            .and_then(|c| Store::start(None, limits.clone(), c, None));
        started.unwrap_or_else(|error| {
            // Without memory for it, the summaries still pass by.
            let inner = Inner::new(limits);
            inner.model.queue.end();
            inner.set_health(Some(error.to_string()));
            Store {
                life: Arc::new(Life {
                    inner,
                    path: None,
                    readers: None,
                    writer: None,
                    #[cfg(test)]
                    writing: None,
                }),
            }
        })
    }

    /// Follows a live request, of which the head has come. It is shown at once, as a pending
    /// delivery of its own.
    pub fn arrived(&self, arrival: Arrival) -> Recorder {
        Recorder::live(self.clone(), arrival)
    }

    /// Follows one more attempt of a known delivery, with one of its requests. `None` when the
    /// request is not of this delivery, or the delivery is neither in memory nor was read lately
    /// by [`Store::delivery`] or [`Store::resolve`].
    pub fn replaying(&self, delivery: Id, request: Id, origin: String) -> Option<Recorder> {
        let place = self.model().replaying(delivery, request, origin)?;
        Some(Recorder::replay(self.clone(), place))
    }

    /// The deliveries in memory, oldest first, and every change after that.
    pub fn watch(&self) -> (Vec<Arc<Delivery>>, Feed) {
        self.model().watch()
    }

    /// A delivery by its id, also one that another process recorded.
    ///
    /// # Errors
    ///
    /// [`ReadError`], as for everything that reads.
    pub async fn delivery(&self, id: Id) -> Result<Option<Arc<Delivery>>, ReadError> {
        let known = self
            .read(
                |r| &r.reader,
                move |connection| match schema::seq_of(connection, id)? {
                    Some(seq) => schema::delivery(connection, seq),
                    None => Ok(None),
                },
            )
            .await?;
        Ok(known.map(|known| self.noted(known)))
    }

    /// A request, byte for byte. While its body is still coming, its head.
    pub async fn request(&self, id: Id) -> Result<Option<Request>, ReadError> {
        self.read(|r| &r.reader, move |c| schema::request(c, id))
            .await
    }

    /// The app's answer to attempt `n` of a delivery, once it has ended.
    pub async fn response(&self, delivery: Id, n: u32) -> Result<Option<Response>, ReadError> {
        self.read(|r| &r.reader, move |c| schema::response(c, delivery, n))
            .await
    }

    /// The newest deliveries that `query` asks for, oldest first. A damaged one is left out.
    pub async fn list(&self, query: Query) -> Result<Vec<Arc<Delivery>>, ReadError> {
        self.read(
            |r| &r.lister,
            move |connection| {
                let seqs = matching(connection, &query)?;
                let known = readable(connection, &seqs)?;
                Ok(known.into_iter().map(|k| k.delivery).collect())
            },
        )
        .await
    }

    /// Finds what a person means by a whole id, or by its unique beginning or end.
    pub async fn resolve(&self, text: &str) -> Result<Resolved, ReadError> {
        let Some(piece) = id_piece(text) else {
            return Ok(Resolved::Unknown);
        };
        let resolved = self
            .read(|r| &r.reader, move |c| resolve(c, &piece))
            .await?;
        if let Resolved::Found { delivery, .. } = resolved {
            // Read, so that it can be replayed.
            self.delivery(delivery).await?;
        }
        Ok(resolved)
    }

    /// Waits until everything recorded so far is in the file, or the disk has refused it.
    pub async fn flush(&self) {
        // An error means that there is no writer any more: nothing to wait for.
        let _ = self.model().queue.flush().await;
    }

    /// Whether what passes is being recorded.
    pub fn health(&self) -> Health {
        self.life.inner.health.borrow().clone()
    }

    /// Tells of every change of [`Store::health`].
    pub fn health_changes(&self) -> watch::Receiver<Health> {
        self.life.inner.health.subscribe()
    }

    /// Forgets deliveries with all their requests and answers. Unknown ids are no error.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the file is then as it was.
    pub async fn remove(&self, ids: &[Id]) -> Result<(), RemoveError> {
        self.model().forget(ids, true);
        let ids = ids.to_vec();
        self.order(|answer| Job::Remove(ids, answer)).await
    }

    /// Forgets everything, also what other processes recorded.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the file is then as it was.
    pub async fn clear(&self) -> Result<(), RemoveError> {
        self.model().clear();
        self.order(Job::Clear).await
    }

    /// The folder; `None` for a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.life.path.as_deref()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.life.inner.model
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.life.inner.limits
    }

    /// Takes room for bytes of a body that is streaming.
    pub(crate) fn take_live(&self, bytes: usize) -> bool {
        let live = &self.life.inner.live;
        let fits = live.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limits().live_bytes;
        if !fits {
            live.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    pub(crate) fn give_live(&self, bytes: usize) {
        self.life.inner.live.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_dropped(&self) {
        self.life.inner.count_dropped();
    }

    /// An id of our own, for a request whose id is taken.
    pub(crate) fn fresh_id(&self) -> Id {
        let mut chance = [0; 4];
        // Without chance the time still tells ids apart.
        let _ = getrandom::fill(&mut chance);
        Id::new(Timestamp::now(), u32::from_le_bytes(chance))
    }

    fn start(
        path: Option<&Path>,
        limits: Limits,
        connection: Connection,
        readers: Option<(Connection, Connection)>,
    ) -> Result<Store, OpenError> {
        let inner = Inner::new(limits);
        let connection = Arc::new(Mutex::new(connection));
        let (reader, lister) = match readers {
            Some((reader, lister)) => (Arc::new(Mutex::new(reader)), Arc::new(Mutex::new(lister))),
            // A database in memory belongs to its one connection.
            None => (connection.clone(), connection.clone()),
        };
        let mut chance = [0; 8];
        let random = getrandom::fill(&mut chance);
        let failed = |source| OpenError::Unwritable {
            path: path.unwrap_or(Path::new(":memory:")).to_path_buf(),
            source,
        };
        random.map_err(|e| failed(io::Error::other(e)))?;
        let writer = Writer {
            inner: inner.clone(),
            connection: connection.clone(),
            run: Run {
                id: format!("{:016x}", u64::from_le_bytes(chance)),
                folder: path.map(Path::to_path_buf),
                lock: None,
                known: false,
            },
            numbers: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name(String::from("capture"))
            .spawn(move || writer.run())
            .map_err(failed)?;
        Ok(Store {
            life: Arc::new(Life {
                inner,
                path: path.map(Path::to_path_buf),
                readers: Some(Readers { reader, lister }),
                writer: Some(thread),
                #[cfg(test)]
                writing: Some(connection),
            }),
        })
    }

    /// Keeps what was read at hand for a replay.
    fn noted(&self, known: Known) -> Arc<Delivery> {
        let delivery = known.delivery.clone();
        self.model().note_read(known);
        delivery
    }

    async fn order(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Job,
    ) -> Result<(), RemoveError> {
        let (answer, told) = oneshot::channel();
        self.model().queue.push(job(answer));
        self.flush().await;
        match told.await {
            Ok(done) => done.map_err(|why| RemoveError { why }),
            Err(_) => Err(RemoveError {
                why: String::from("the store is closed"),
            }),
        }
    }

    /// Reads on a blocking thread, after what was recorded here is written.
    async fn read<T: Send + 'static>(
        &self,
        which: impl FnOnce(&Readers) -> &Arc<Mutex<Connection>>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.flush().await;
        let connection = self.life.readers.as_ref().map(which);
        let connection = connection.ok_or(ReadError::Closed)?.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let connection = lock(&connection);
            // One transaction: all that is read is of one moment.
            let moment = connection.unchecked_transaction()?;
            read(&moment)
        });
        match reading.await {
            Ok(read) => Ok(read?),
            Err(_) => Err(ReadError::Closed),
        }
    }

    #[cfg(test)]
    pub(crate) fn writing_connection(&self) -> Option<Arc<Mutex<Connection>>> {
        self.life.writing.clone()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.life.path)
            .field("health", &*self.life.inner.health.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.inner.model.queue.close();
        if let Some(writer) = self.writer.take() {
            // A writer that broke down has said so in the health.
            let _ = writer.join();
        }
    }
}

impl Inner {
    fn new(limits: Limits) -> Arc<Inner> {
        Arc::new(Inner {
            model: Model::new(limits.clone()),
            limits,
            health: watch::Sender::new(Health::Recording { dropped: 0 }),
            live: AtomicUsize::new(0),
        })
    }

    pub(crate) fn count_dropped(&self) {
        self.health.send_modify(|health| match health {
            Health::Recording { dropped } | Health::Stopped { dropped, .. } => *dropped += 1,
        });
    }

    /// Says that recording stopped, or goes on.
    pub(crate) fn set_health(&self, stopped: Option<String>) {
        self.health.send_if_modified(|health| {
            if health.why() == stopped.as_deref() {
                return false;
            }
            let dropped = health.dropped();
            *health = match stopped {
                Some(why) => Health::Stopped { why, dropped },
                None => Health::Recording { dropped },
            };
            true
        });
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.health.borrow().why().map(String::from)
    }
}

/// The lock file of a process that records into `folder`.
pub(crate) fn run_lock(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("run-{run}.lock"))
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|source| OpenError::Unwritable {
            path: path.to_path_buf(),
            source,
        })
}

/// Makes the file before SQLite does, for its owner alone; its companions take after it.
fn make_file(file: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(file).and_then(|_opened| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = _opened.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                _opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            }
        }
        Ok(())
    });
    made.map_err(|source| OpenError::Unwritable {
        path: file.to_path_buf(),
        source,
    })
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    steady(&connection)?;
    Ok(connection)
}

/// Lets prepared statements stay prepared. By default this SQLite plans some of them anew whenever
/// another value is bound, which took most of the time of reading many deliveries.
fn steady(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(32);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        // Works on an empty file only, so it comes first.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    // Two processes that make the file at once: SQLite does not wait by itself here.
    let mut tries = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other?,
        }
    }
    // A commit survives a killed process; a power cut may cost the newest ones, never the file.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)
}

fn open_error(file: &Path, source: rusqlite::Error) -> OpenError {
    let path = file.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { path, source }
        }
        _ => OpenError::Database { path, source },
    }
}

/// Attempts that a process left pending when it was killed have failed.
fn end_gone_runs(connection: &mut Connection, folder: &Path) -> rusqlite::Result<()> {
    let runs: Vec<String> = connection
        .prepare("SELECT id FROM run")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for run in runs {
        let path = run_lock(folder, &run);
        // Held until its attempts are ended, so that only one process does it.
        let _lock = match File::open(&path) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => Some(lock),
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    debug!(run, %error, "cannot tell whether it lives");
                    continue;
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => continue,
        };
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "UPDATE attempt SET state = 'failed', status = NULL, cause = 'client-stopped',
                    why = 'the client stopped before the answer was complete', may_have_run = 1
             WHERE state = 'pending' AND run = ?",
            [&run],
        )?;
        change.execute("DELETE FROM run WHERE id = ?", [&run])?;
        change.commit()?;
        let _ = std::fs::remove_file(&path);
    }
    Ok(())
}

/// The newest deliveries, oldest first, for memory. What another process is still busy with is
/// left to it: we would never learn how it ends.
fn newest_in_memory(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Known>> {
    let mut seqs: Vec<i64> = connection
        .prepare(
            "SELECT seq FROM delivery
             WHERE seq NOT IN (SELECT delivery FROM attempt WHERE state = 'pending')
             ORDER BY seq DESC LIMIT ?",
        )?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    seqs.reverse();
    readable(connection, &seqs)
}

/// The deliveries of these rows; a damaged one is left out.
fn readable(connection: &Connection, seqs: &[i64]) -> rusqlite::Result<Vec<Known>> {
    let mut known = Vec::with_capacity(seqs.len());
    for seq in seqs {
        match schema::delivery(connection, *seq) {
            Ok(found) => known.extend(found),
            Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(error),
            Err(error) => warn!(seq, %error, "a damaged record is left out"),
        }
    }
    Ok(known)
}

/// The rows a query asks for, oldest first.
fn matching(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<i64>> {
    let text = query.text.as_deref().filter(|text| !text.is_empty());
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut seqs: Vec<i64> = connection
        .prepare_cached(
            "SELECT seq FROM delivery AS d
             WHERE (NOT ?1 OR (
                    SELECT (state = 'failed' AND cause <> ?5) OR (state = 'answered' AND status >= 400)
                    FROM attempt WHERE delivery = d.seq AND state <> 'pending'
                    ORDER BY n DESC LIMIT 1))
               AND (?2 IS NULL
                    OR instr(lower(method || ' ' || target || ' ' || endpoint || ' ' || remote
                        || ' ' || id || ' ' || coalesce(provider, '') || ' '
                        || coalesce(event, '')), ?2)
                    OR EXISTS (SELECT 1 FROM attempt WHERE delivery = d.seq AND instr(request, ?2))
                    OR EXISTS (SELECT 1 FROM request WHERE delivery = d.seq
                               AND (instr(fields, ?3) OR instr(body, ?3)))
                    OR EXISTS (SELECT 1 FROM response WHERE delivery = d.seq
                               AND (instr(fields, ?3) OR instr(body, ?3))))
             ORDER BY seq DESC LIMIT ?4",
        )?
        .query_map(
            (
                query.failed_only,
                text.map(str::to_ascii_lowercase),
                text.map(str::as_bytes),
                limit,
                REFUSED,
            ),
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    seqs.reverse();
    Ok(seqs)
}

/// A piece of an id as it is stored, or `None` when it cannot be one. Letters that Crockford's
/// alphabet lacks because they look like digits are read as these digits.
fn id_piece(text: &str) -> Option<String> {
    let piece: String = text
        .trim()
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            c => c,
        })
        .collect();
    let long_enough = (SHORTEST_ID..=16).contains(&piece.len());
    (long_enough && piece.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(piece)
}

fn resolve(connection: &Connection, piece: &str) -> rusqlite::Result<Resolved> {
    let found =
        |(request, delivery): (String, String)| Some((Id::parse(&request)?, Id::parse(&delivery)?));
    let whole: Option<(String, String)> = connection
        .prepare_cached(
            "SELECT request, id FROM attempt JOIN delivery ON seq = delivery
             WHERE request = ? ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([piece], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((request, delivery)) = whole.and_then(found) {
        return Ok(Resolved::Found { delivery, request });
    }
    let candidates: Vec<(String, String)> = connection
        .prepare_cached(
            "SELECT DISTINCT request, id FROM attempt JOIN delivery ON seq = delivery
             WHERE substr(request, 1, ?2) = ?1 OR substr(request, -?2) = ?1
             ORDER BY seq DESC LIMIT 10",
        )?
        .query_map((piece, piece.len() as i64), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let candidates: Vec<(Id, Id)> = candidates.into_iter().filter_map(found).collect();
    Ok(match candidates[..] {
        [] => Resolved::Unknown,
        [(request, delivery)] => Resolved::Found { delivery, request },
        _ => Resolved::Ambiguous(candidates.into_iter().map(|(request, _)| request).collect()),
    })
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
