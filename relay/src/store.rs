//! What a relay remembers in its state folder: tokens, names, its own keys. SQLite.

use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::EndpointName;

use crate::limits;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error("{path} cannot be written")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database was written by a newer version.
    #[error("{path} was written by a newer relay (schema {found}, this one knows {known})")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// SQLite failed.
    #[error("the relay's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
    /// The thread that works with the database is gone.
    #[error("the relay is stopping")]
    Stopping,
}

/// A token as listed. The token itself is never stored.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// The public part of the token.
    pub id: String,
    /// The label it was added under.
    pub name: String,
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// Name patterns it may use; `*` stands for any run of characters.
    pub patterns: Vec<String>,
    /// How many names it may use at once; 0 for no bound of its own.
    pub max_tunnels: u32,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds, when it has an end.
    pub expires: Option<i64>,
    /// Unix seconds, when it was revoked.
    pub revoked: Option<i64>,
}

/// A name that somebody else holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The label of the token it was taken with; empty on an open relay.
    pub token: String,
    /// Unix seconds until which it stays its owner's.
    pub until: i64,
}

/// The relay's database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    // A lock and not a task: calls come from blocking threads, one statement or transaction each.
    db: Arc<Mutex<Connection>>,
}

const SCHEMA: i64 = 1;

const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE token (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash BLOB NOT NULL,
        patterns TEXT NOT NULL, max_tunnels INTEGER NOT NULL,
        created INTEGER NOT NULL, expires INTEGER, revoked INTEGER) STRICT;
    CREATE TABLE name (
        name TEXT PRIMARY KEY, key BLOB NOT NULL, token TEXT NOT NULL,
        taken INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
    CREATE INDEX name_key ON name (key, until);
"];

/// Seconds since the epoch.
pub fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

impl Store {
    /// Opens or makes the database in `folder`, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        private_folder(folder).map_err(|source| StoreError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join("relay.sqlite3");
        private_file(&path).map_err(|source| StoreError::Folder {
            path: path.clone(),
            source,
        })?;
        let mut db = Connection::open(&path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > SCHEMA {
            return Err(StoreError::Newer {
                path,
                found,
                known: SCHEMA,
            });
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        Ok(Store {
            db: Arc::new(Mutex::new(db)),
        })
    }

    /// Runs `work` on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`StoreError::Stopping`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .unwrap_or(Err(StoreError::Stopping))
    }

    fn db(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A random key of this relay, made on first use.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn secret<const N: usize>(&self, name: &str) -> Result<[u8; N], StoreError> {
        let mut fresh = [0; N];
        getrandom::fill(&mut fresh).map_err(|_| StoreError::Random)?;
        let kept = self.keep(name, &fresh)?;
        Ok(kept.try_into().unwrap_or(fresh))
    }

    /// What is kept under `name`: `fresh`, when nothing was kept before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn keep(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let db = self.db();
        db.execute(
            "INSERT INTO secret (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![name, fresh],
        )?;
        Ok(
            db.query_row("SELECT value FROM secret WHERE name = ?1", [name], |row| {
                row.get(0)
            })?,
        )
    }

    /// Adds a token; `false` when the label is in use.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn add_token(&self, token: &TokenRow) -> Result<bool, StoreError> {
        let added = self.db().execute(
            "INSERT INTO token (id, name, hash, patterns, max_tunnels, created, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![
                token.id,
                token.name,
                &token.hash[..],
                token.patterns.join(" "),
                token.max_tunnels,
                token.created,
                token.expires
            ],
        )?;
        Ok(added == 1)
    }

    /// The token with this public part.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn token(&self, id: &str) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("{SELECT_TOKEN} WHERE id = ?1");
        Ok(self.db().query_row(&sql, [id], token_row).optional()?)
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let db = self.db();
        let mut statement = db.prepare(&format!("{SELECT_TOKEN} ORDER BY created, name"))?;
        let rows = statement.query_map([], token_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Revokes a token by its label; `false` when there is none, or it was revoked before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn revoke_token(&self, name: &str) -> Result<bool, StoreError> {
        let revoked = self.db().execute(
            "UPDATE token SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL",
            params![name, unix_now()],
        )?;
        Ok(revoked == 1)
    }

    /// Leases `name` to `key`, in one transaction. `Err(Held)` inside when another key has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn lease(
        &self,
        name: &EndpointName,
        key: &[u8; 32],
        token: &str,
    ) -> Result<Result<(), Held>, StoreError> {
        let now = unix_now();
        let until = now.saturating_add(i64::try_from(limits::LEASE.as_secs()).unwrap_or(i64::MAX));
        let mut db = self.db();
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let other = transaction
            .query_row(
                "SELECT token, until FROM name WHERE name = ?1 AND key <> ?2 AND until > ?3",
                params![name.as_str(), &key[..], now],
                |row| {
                    Ok(Held {
                        token: row.get(0)?,
                        until: row.get(1)?,
                    })
                },
            )
            .optional()?;
        if let Some(held) = other {
            return Ok(Err(held));
        }
        transaction.execute(
            "INSERT INTO name (name, key, token, taken, until) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET
                 taken = CASE WHEN key = excluded.key THEN taken ELSE excluded.taken END,
                 key = excluded.key, token = excluded.token, until = excluded.until",
            params![name.as_str(), &key[..], token, now, until],
        )?;
        transaction.execute(
            "DELETE FROM name WHERE key = ?1 AND name NOT IN
                 (SELECT name FROM name WHERE key = ?1 ORDER BY until DESC LIMIT ?2)",
            params![
                &key[..],
                i64::try_from(limits::NAMES_PER_KEY).unwrap_or(i64::MAX)
            ],
        )?;
        transaction.commit()?;
        Ok(Ok(()))
    }

    /// Every name that is somebody's now. Names whose time is over are dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn names(&self) -> Result<Vec<EndpointName>, StoreError> {
        let db = self.db();
        db.execute("DELETE FROM name WHERE until <= ?1", [unix_now()])?;
        let mut statement = db.prepare("SELECT name FROM name")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let mut names = Vec::new();
        for row in rows {
            if let Ok(name) = EndpointName::parse(&row?) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

const SELECT_TOKEN: &str =
    "SELECT id, name, hash, patterns, max_tunnels, created, expires, revoked FROM token";

fn token_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        patterns: row
            .get::<_, String>(3)?
            .split(' ')
            .map(str::to_owned)
            .collect(),
        max_tunnels: row.get(4)?,
        created: row.get(5)?,
        expires: row.get(6)?,
        revoked: row.get(7)?,
    })
}

/// Makes a folder that only its owner can enter. A folder that is there already is left as it is.
///
/// # Errors
///
/// When it cannot be made.
pub fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a file that only its owner can read, if it is not there.
///
/// # Errors
///
/// When it cannot be opened for writing.
pub fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
