//! Metadata in SQL: the only place that knows it.
//!
//! The SQL text is the common part of SQLite and PostgreSQL; what differs
//! (opening, running a statement, beginning a transaction) is in the backend's
//! own file. Owns no other state than the connections. After a crash the
//! database is as of the last commit that was acknowledged, or later.

mod blobs;
mod cache;
#[cfg(test)]
mod conformance;
mod database;
mod error;
mod instance;
mod listing;
mod manifests;
#[cfg(test)]
mod postgres;
mod query;
mod repositories;
mod sqlite;
mod uploads;
mod users;

pub(crate) use blobs::{BlobLocation, BlobRow, Placement};
pub(crate) use database::{Database, Durability};
pub use error::DbError;
pub(crate) use listing::{Page, ReferrerRow};
pub(crate) use manifests::{ManifestPut, ManifestRow, PutOutcome, RefRow};
pub(crate) use repositories::{RepoId, Visibility};
pub(crate) use uploads::UploadRow;

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Now, in Unix microseconds.
pub(crate) fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}

/// A new row id: the clock, moved on so that no two calls of a process agree.
/// Ids therefore sort by creation, which paging relies on.
fn next_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = now_micros();
    let mut last = LAST.load(Ordering::Relaxed);
    loop {
        let next = now.max(last + 1);
        match LAST.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(seen) => last = seen,
        }
    }
}

/// `($1,$2),($3,$4)…`: `rows` groups of `columns` placeholders.
fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            if column > 0 {
                text.push(',');
            }
            text.push('$');
            text.push_str(&(row * columns + column + 1).to_string());
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
#[path = "db/tests.rs"]
mod tests;
