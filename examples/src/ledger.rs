//! Balances in a database that refuses the fencing tokens of the past: one column and one condition, in SQLite and in
//! PostgreSQL the same.
//!
//! Reading and writing are two statements on purpose: only the lock keeps others out between them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use msync::FencingToken;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS account (id TEXT PRIMARY KEY, balance BIGINT NOT NULL, token BIGINT NOT NULL)";
const MAKE: &str = "INSERT INTO account VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
const READ: &str = "SELECT balance FROM account WHERE id = $1";
/// Writes, unless a later holder has written before.
const WRITE: &str = "UPDATE account SET balance = $1, token = $2 WHERE id = $3 AND token <= $2";

/// A table of balances.
pub enum Ledger {
    /// In a file.
    Sqlite(Mutex<rusqlite::Connection>),
    /// On a server.
    Postgres(tokio_postgres::Client),
}

// === impl Ledger ===

impl Ledger {
    /// Opens a ledger, which is made if it is not there: `postgres://…`, or the path of a file of SQLite.
    ///
    /// # Errors
    /// When the database cannot be opened.
    ///
    /// # Cancel safety
    /// The table may have been made.
    pub async fn open(url: &str) -> Result<Self> {
        if url.starts_with("postgres") {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(TABLE).await?;
            return Ok(Self::Postgres(client));
        }
        let connection = rusqlite::Connection::open(url)?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")?; // readers wait for nobody
        connection.execute(TABLE, [])?;
        Ok(Self::Sqlite(Mutex::new(connection)))
    }

    /// Reads a balance; zero for an account that is new.
    ///
    /// # Errors
    /// When the database fails.
    ///
    /// # Cancel safety
    /// The account may have been made.
    pub async fn read(&self, id: &str) -> Result<i64> {
        Ok(match self {
            Self::Postgres(client) => {
                client.execute(MAKE, &[&id]).await?;
                client.query_one(READ, &[&id]).await?.get(0)
            }
            Self::Sqlite(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                connection.execute(MAKE, [id])?;
                connection.query_row(READ, [id], |row| row.get(0))?
            }
        })
    }

    /// Writes a balance, unless a later holder of the account has written before.
    ///
    /// # Errors
    /// When one has, so that nothing was written; when the token is no `BIGINT`; when the database fails.
    ///
    /// # Cancel safety
    /// It may have been written.
    pub async fn write(&self, id: &str, balance: i64, token: FencingToken) -> Result<()> {
        let token = i64::try_from(token)?;
        let changed = match self {
            Self::Postgres(client) => client.execute(WRITE, &[&balance, &token, &id]).await?,
            Self::Sqlite(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                u64::try_from(connection.execute(WRITE, (balance, token, id))?)?
            }
        };
        ensure!(changed == 1, "account {id} was written by a later holder than that of token {token}");
        Ok(())
    }
}
