//! The tables, how they came to be, and records as rows.
//!
//! Exact bytes are BLOBs; header lists are in the form of `fields`; times are microseconds. A
//! judgement is JSON as `signature` writes it.

use crate::fields::{decode_fields, decode_schedule, encode_fields, encode_schedule};
use crate::model::Known;
use crate::queue::{About, Arriving};
use crate::record::{
    Attempt, Body, BodyEnd, Delivery, Id, Outcome, Request, Response, Timestamp, Timing, Trigger,
};
use crate::retry;
use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use signature::Judgement;
use std::sync::Arc;
use std::time::Duration;

/// Each brings a database from its index to the next version (`PRAGMA user_version`). Never edit
/// one that was released; append.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE delivery (
        seq           INTEGER PRIMARY KEY,  -- order of recording, and of retention
        id            TEXT NOT NULL UNIQUE,
        at            INTEGER NOT NULL,
        endpoint      TEXT NOT NULL,
        provider      TEXT,
        event         TEXT,
        method        TEXT NOT NULL,
        target        TEXT NOT NULL,
        remote        TEXT NOT NULL,
        bytes         INTEGER NOT NULL,
        event_key     TEXT,                 -- the sender's key of the event: retries share it
        schedule      BLOB                  -- the sender's waits; NULL when unknown
    ) STRICT;
    CREATE INDEX delivery_event_key ON delivery (event_key) WHERE event_key IS NOT NULL;

    CREATE TABLE request (
        id            TEXT PRIMARY KEY,
        delivery      INTEGER NOT NULL REFERENCES delivery (seq) ON DELETE CASCADE,
        at            INTEGER NOT NULL,
        endpoint      TEXT NOT NULL,
        public_origin TEXT NOT NULL,
        remote        TEXT NOT NULL,
        version       TEXT NOT NULL,
        method        TEXT NOT NULL,
        target        TEXT NOT NULL,
        fields        BLOB NOT NULL,
        trailers      BLOB NOT NULL,
        signature     TEXT NOT NULL,
        len           INTEGER,              -- NULL until its end has come
        cut           INTEGER NOT NULL,
        body          BLOB NOT NULL
    ) STRICT;
    CREATE INDEX request_delivery ON request (delivery);

    CREATE TABLE attempt (
        delivery      INTEGER NOT NULL REFERENCES delivery (seq) ON DELETE CASCADE,
        n             INTEGER NOT NULL,
        run           TEXT NOT NULL,        -- the process that made it
        request       TEXT NOT NULL,
        kind          TEXT NOT NULL,        -- live, retry, replay, held
        at            INTEGER NOT NULL,
        origin        TEXT NOT NULL,
        signature     TEXT NOT NULL,
        state         TEXT NOT NULL CHECK (state IN ('pending', 'answered', 'failed')),
        status        INTEGER,
        bytes         INTEGER,
        cause         TEXT,
        why           TEXT,
        may_have_run  INTEGER,
        received      INTEGER,
        connected     INTEGER,
        sent          INTEGER,
        head          INTEGER,
        done          INTEGER,
        note          TEXT,
        PRIMARY KEY (delivery, n)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attempt_request ON attempt (request);

    CREATE TABLE response (
        delivery      INTEGER NOT NULL,
        n             INTEGER NOT NULL,
        status        INTEGER NOT NULL,
        reason        TEXT NOT NULL,
        fields        BLOB NOT NULL,
        trailers      BLOB NOT NULL,
        len           INTEGER NOT NULL,
        cut           INTEGER NOT NULL,
        body          BLOB NOT NULL,
        UNIQUE (delivery, n),
        FOREIGN KEY (delivery, n) REFERENCES attempt (delivery, n) ON DELETE CASCADE
    ) STRICT;

    -- Processes that record here now. Each holds a lock on run-ID.lock beside this file.
    CREATE TABLE run (
        id            TEXT PRIMARY KEY,
        pid           INTEGER NOT NULL
    ) STRICT;
"];

/// Brings the database up to date. `Err(Ok(version))` when it is of a newer version than we know.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Result<u32, rusqlite::Error>> {
    let version = version(connection).map_err(Err)?;
    if version as usize == MIGRATIONS.len() {
        return Ok(());
    }
    let migration = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(Err)?;
    // Asked again: another process may have been faster.
    let version = self::version(&migration).map_err(Err)?;
    let Some(missing) = MIGRATIONS.get(version as usize..) else {
        return Err(Ok(version));
    };
    for step in missing {
        migration.execute_batch(step).map_err(Err)?;
    }
    migration
        .pragma_update(None, "user_version", known_version())
        .map_err(Err)?;
    migration.commit().map_err(Err)
}

/// The version this program writes.
pub(crate) fn known_version() -> u32 {
    MIGRATIONS.len() as u32
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// One attempt to write, with what came to an end with it.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) about: &'a About,
    /// The attempt's number in `delivery`.
    pub(crate) n: u32,
    /// Its number in the database: another when a second process has taken `n`.
    pub(crate) number: u32,
    pub(crate) request: Option<&'a Arriving>,
    pub(crate) response: Option<&'a Response>,
    /// The delivery that turned out to be this one.
    pub(crate) gone: Option<Id>,
}

/// Writes one attempt. Returns the number it has in the database.
pub(crate) fn save(connection: &Connection, run: &str, line: &Line<'_>) -> rusqlite::Result<u32> {
    if let Some(gone) = line.gone {
        remove(connection, gone)?;
    }
    let seq = save_delivery(connection, line.delivery, line.about)?;
    let mut number = line.number;
    if let Some(attempt) = line.delivery.attempts.iter().find(|a| a.n == line.n) {
        while !save_attempt(connection, seq, number, run, attempt)? {
            number = connection
                .prepare_cached("SELECT max(n) + 1 FROM attempt WHERE delivery = ?")?
                .query_row([seq], |row| row.get(0))?;
        }
    }
    if let Some(arriving) = line.request {
        save_request(connection, seq, arriving)?;
    }
    if let Some(response) = line.response {
        save_response(connection, seq, number, response)?;
    }
    Ok(number)
}

fn save_delivery(
    connection: &Connection,
    delivery: &Delivery,
    about: &About,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO delivery (id, at, endpoint, provider, event, method, target, remote,
                                   bytes, event_key, schedule)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (id) DO UPDATE SET
                provider = ?4, event = ?5, remote = ?8, bytes = ?9, event_key = ?10,
                schedule = ?11
             RETURNING seq",
        )?
        .query_row(
            params![
                delivery.id.as_str(),
                delivery.at.0,
                delivery.endpoint,
                delivery.provider,
                delivery.event,
                delivery.method,
                delivery.target,
                delivery.remote,
                signed(delivery.bytes),
                about.group,
                about.schedule.as_deref().map(encode_schedule),
            ],
            |row| row.get(0),
        )
}

/// `false` when the number belongs to another process.
fn save_attempt(
    connection: &Connection,
    seq: i64,
    n: u32,
    run: &str,
    attempt: &Attempt,
) -> rusqlite::Result<bool> {
    let (state, bytes, cause, why, may_have_run) = match &attempt.outcome {
        Outcome::Pending => ("pending", None, None, None, None),
        Outcome::Answered { bytes, .. } => ("answered", Some(signed(*bytes)), None, None, None),
        Outcome::Failed {
            cause,
            why,
            may_have_run,
            ..
        } => ("failed", None, Some(cause), Some(why), Some(*may_have_run)),
    };
    let micros =
        |mark: Option<Duration>| mark.map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
    let written = connection
        .prepare_cached(
            "INSERT INTO attempt (delivery, n, run, request, kind, at, origin, signature, state,
                                  status, bytes, cause, why, may_have_run,
                                  received, connected, sent, head, done, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20)
             ON CONFLICT (delivery, n) DO UPDATE SET
                signature = ?8, state = ?9, status = ?10, bytes = ?11, cause = ?12, why = ?13,
                may_have_run = ?14, received = ?15, connected = ?16, sent = ?17, head = ?18,
                done = ?19, note = ?20
             WHERE run = ?3 AND request = ?4 AND kind = ?5",
        )?
        .execute(params![
            seq,
            n,
            run,
            attempt.request.as_str(),
            attempt.trigger.as_str(),
            attempt.at.0,
            attempt.origin,
            json(&attempt.signature),
            state,
            attempt.outcome.status(),
            bytes,
            cause,
            why,
            may_have_run,
            micros(attempt.timing.received),
            micros(attempt.timing.connected),
            micros(attempt.timing.sent),
            micros(attempt.timing.head),
            micros(attempt.timing.done),
            attempt.note,
        ])?;
    Ok(written > 0)
}

fn save_request(connection: &Connection, seq: i64, arriving: &Arriving) -> rusqlite::Result<()> {
    let Arriving { request, ended } = arriving;
    connection
        .prepare_cached(
            "INSERT INTO request (id, delivery, at, endpoint, public_origin, remote, version, method,
                                  target, fields, trailers, signature, len, cut, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (id) DO UPDATE SET
                trailers = ?11, signature = ?12, len = ?13, cut = ?14, body = ?15
             WHERE len IS NULL",
        )?
        .execute(params![
            request.id.as_str(),
            seq,
            request.at.0,
            request.endpoint,
            request.public_origin,
            request.remote,
            request.version,
            request.method,
            request.target,
            encode_fields(&request.fields),
            encode_fields(&request.trailers),
            json(&request.signature),
            ended.then_some(signed(request.body.len)),
            request.body.end == BodyEnd::Cut,
            &request.body.bytes[..],
        ])?;
    Ok(())
}

fn save_response(
    connection: &Connection,
    seq: i64,
    n: u32,
    response: &Response,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO response (delivery, n, status, reason, fields, trailers, len,
                                              cut, body)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            seq,
            n,
            response.status,
            response.reason,
            encode_fields(&response.fields),
            encode_fields(&response.trailers),
            signed(response.body.len),
            response.body.end == BodyEnd::Cut,
            &response.body.bytes[..],
        ])?;
    Ok(())
}

/// Removes a delivery with everything that hangs on it.
pub(crate) fn remove(connection: &Connection, id: Id) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM delivery WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(())
}

/// The delivery of row `seq`.
pub(crate) fn delivery(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Known>> {
    let mut attempts = connection.prepare_cached(
        "SELECT n, request, kind, at, origin, signature, state, status, bytes, cause, why,
                may_have_run, received, connected, sent, head, done, note
         FROM attempt WHERE delivery = ? ORDER BY n",
    )?;
    let attempts: Vec<Attempt> = attempts
        .query_map([seq], attempt)?
        .collect::<Result<_, _>>()?;
    connection
        .prepare_cached(
            "SELECT id, at, endpoint, provider, event, method, target, remote, bytes, event_key,
                    schedule
             FROM delivery WHERE seq = ?",
        )?
        .query_row([seq], |row| {
            let schedule: Option<Vec<u8>> = row.get(10)?;
            let schedule = schedule
                .map(|bytes| decode_schedule(&bytes).ok_or_else(|| damaged(10, "schedule")))
                .transpose()?;
            Ok(Known {
                delivery: Arc::new(Delivery {
                    id: id(row, 0)?,
                    at: Timestamp(row.get(1)?),
                    endpoint: row.get(2)?,
                    provider: row.get(3)?,
                    event: row.get(4)?,
                    method: row.get(5)?,
                    target: row.get(6)?,
                    remote: row.get(7)?,
                    bytes: unsigned(row.get(8)?),
                    retry: retry::expected(schedule.as_deref(), &attempts),
                    attempts,
                }),
                about: Arc::new(About {
                    group: row.get(9)?,
                    schedule,
                }),
            })
        })
        .optional()
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let status: Option<u16> = row.get(7)?;
    let outcome = match row.get_ref(6)?.as_str()? {
        "pending" => Outcome::Pending,
        "answered" => Outcome::Answered {
            status: status.ok_or_else(|| damaged(7, "status"))?,
            bytes: unsigned(row.get::<_, Option<i64>>(8)?.unwrap_or(0)),
        },
        _ => Outcome::Failed {
            status,
            cause: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
            why: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
            may_have_run: row.get::<_, Option<bool>>(11)?.unwrap_or(true),
        },
    };
    let mark = |column| -> rusqlite::Result<Option<Duration>> {
        let micros: Option<i64> = row.get(column)?;
        Ok(micros.map(|m| Duration::from_micros(unsigned(m))))
    };
    Ok(Attempt {
        n: row.get(0)?,
        request: id(row, 1)?,
        trigger: Trigger::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| damaged(2, "trigger"))?,
        at: Timestamp(row.get(3)?),
        origin: row.get(4)?,
        signature: judgement(row, 5)?,
        outcome,
        timing: Timing {
            received: mark(12)?,
            connected: mark(13)?,
            sent: mark(14)?,
            head: mark(15)?,
            done: mark(16)?,
        },
        note: row.get(17)?,
    })
}

/// The request of this id.
pub(crate) fn request(connection: &Connection, wanted: Id) -> rusqlite::Result<Option<Request>> {
    connection
        .prepare_cached(
            "SELECT id, at, endpoint, public_origin, remote, version, method, target, fields,
                    trailers, signature, len, cut, body
             FROM request WHERE id = ?",
        )?
        .query_row([wanted.as_str()], |row| {
            Ok(Request {
                id: id(row, 0)?,
                at: Timestamp(row.get(1)?),
                endpoint: row.get(2)?,
                public_origin: row.get(3)?,
                remote: row.get(4)?,
                version: version_word(row.get_ref(5)?.as_str()?),
                method: row.get(6)?,
                target: row.get(7)?,
                fields: field_list(row, 8)?,
                trailers: field_list(row, 9)?,
                signature: judgement(row, 10)?,
                body: body(row, 11)?,
            })
        })
        .optional()
}

/// The answer to attempt `n` of a delivery.
pub(crate) fn response(
    connection: &Connection,
    delivery: Id,
    n: u32,
) -> rusqlite::Result<Option<Response>> {
    connection
        .prepare_cached(
            "SELECT status, reason, fields, trailers, len, cut, body FROM response
             WHERE delivery = (SELECT seq FROM delivery WHERE id = ?) AND n = ?",
        )?
        .query_row(params![delivery.as_str(), n], |row| {
            Ok(Response {
                status: row.get(0)?,
                reason: row.get(1)?,
                fields: field_list(row, 2)?,
                trailers: field_list(row, 3)?,
                body: body(row, 4)?,
            })
        })
        .optional()
}

/// The row of a delivery.
pub(crate) fn seq_of(connection: &Connection, id: Id) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT seq FROM delivery WHERE id = ?")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()
}

/// Length, cut and bytes, in three columns from `first`.
fn body(row: &Row<'_>, first: usize) -> rusqlite::Result<Body> {
    let cut: bool = row.get(first + 1)?;
    let bytes: Vec<u8> = row.get(first + 2)?;
    Ok(Body {
        bytes: Bytes::from(bytes),
        len: unsigned(row.get::<_, Option<i64>>(first)?.unwrap_or(0)),
        end: if cut { BodyEnd::Cut } else { BodyEnd::Whole },
    })
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<Id> {
    Id::parse(row.get_ref(column)?.as_str()?).ok_or_else(|| damaged(column, "id"))
}

fn field_list(row: &Row<'_>, column: usize) -> rusqlite::Result<crate::record::Fields> {
    decode_fields(row.get_ref(column)?.as_blob()?).ok_or_else(|| damaged(column, "header list"))
}

fn judgement(row: &Row<'_>, column: usize) -> rusqlite::Result<Judgement> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

fn json(judgement: &Judgement) -> String {
    // Strings and numbers only: there is nothing in it that JSON cannot say.
    serde_json::to_string(judgement).unwrap_or_default()
}

fn damaged(column: usize, what: &str) -> rusqlite::Error {
    let cause = format!("damaged {what}");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, cause.into())
}

fn version_word(word: &str) -> &'static str {
    const KNOWN: &[&str] = &["HTTP/1.1", "HTTP/2", "HTTP/3", "HTTP/1.0", "HTTP/0.9"];
    KNOWN
        .iter()
        .find(|k| **k == word)
        .copied()
        .unwrap_or("HTTP/?")
}

/// SQLite's integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
