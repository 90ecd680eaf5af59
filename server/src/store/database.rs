//! One door to all databases: transactions that read one moment, and transactions that write.

use super::Result;
#[cfg(test)]
use super::plain::{self, Plain};
use super::postgres::{self, Postgres};
use super::query::{Dialect, Query, Statement, Value, query};
use super::sqlite::{self, Sqlite};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

#[derive(Clone)]
pub(super) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
    #[cfg(test)]
    Plain(Plain),
}

/// Changes nothing unless it is committed. One that is dropped is rolled back.
pub(super) struct Transaction(Held);

pub(super) enum Held {
    Sqlite(sqlite::Transaction),
    Postgres(postgres::Transaction),
    #[cfg(test)]
    Plain(plain::Transaction),
}

pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    #[cfg(test)]
    Plain(plain::Row),
}

impl Database {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
            #[cfg(test)]
            Database::Plain(_) => Dialect::Sqlite,
        }
    }

    /// A transaction that writes. In SQLite it holds the write lock from its beginning.
    pub(super) async fn write(&self) -> Result<Transaction> {
        Ok(Transaction(match self {
            Database::Sqlite(db) => Held::Sqlite(db.write().await?),
            Database::Postgres(db) => Held::Postgres(Box::pin(db.write()).await?),
            #[cfg(test)]
            Database::Plain(db) => Held::Plain(db.begin(true).await?),
        }))
    }

    /// A transaction that sees one moment of the database, whatever is written meanwhile.
    pub(super) async fn read(&self) -> Result<Transaction> {
        Ok(Transaction(match self {
            Database::Sqlite(db) => Held::Sqlite(db.read().await?),
            Database::Postgres(db) => Held::Postgres(Box::pin(db.read()).await?),
            #[cfg(test)]
            Database::Plain(db) => Held::Plain(db.begin(false).await?),
        }))
    }

    /// For a single statement that writes: a transaction by itself, which the database ends without us. Only where
    /// writers do not wait for each other.
    pub(super) async fn write_once(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(db.write_once().await?))),
            _ => self.write().await,
        }
    }

    /// The same for a single statement: it sees one moment by itself.
    pub(super) async fn read_once(&self) -> Result<Transaction> {
        match self {
            Database::Sqlite(db) => Ok(Transaction(Held::Sqlite(db.read_once().await?))),
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(db.read_once().await?))),
            #[cfg(test)]
            Database::Plain(_) => self.read().await,
        }
    }

    /// For a single statement that writes, and for reading one moment, where nothing else is waited for: what shows
    /// that this node lives. SQLite has one node.
    pub(super) async fn write_vital(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(db.write_vital().await?))),
            _ => self.write().await,
        }
    }

    pub(super) async fn read_vital(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(Box::pin(db.read_vital()).await?))),
            _ => self.read().await,
        }
    }

    /// `write` for what carries a run's whole output.
    pub(super) async fn write_large(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(Box::pin(db.write_large()).await?))),
            _ => self.write().await,
        }
    }

    /// `write` and `read` for what takes as long as there are rows.
    pub(super) async fn write_long(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(Box::pin(db.write_long()).await?))),
            _ => self.write().await,
        }
    }

    pub(super) async fn read_long(&self) -> Result<Transaction> {
        match self {
            Database::Postgres(db) => Ok(Transaction(Held::Postgres(Box::pin(db.read_long()).await?))),
            _ => self.read().await,
        }
    }

    /// Brings the schema up to this build's; one that is ahead is left as it is.
    pub(super) async fn migrate(&self) -> Result<()> {
        match self {
            Database::Sqlite(db) => db.migrate().await,
            Database::Postgres(db) => Box::pin(db.migrate()).await,
            #[cfg(test)]
            Database::Plain(_) => Ok(()),
        }
    }

    /// Waits for calls under way.
    pub(super) async fn close(&self) {
        match self {
            Database::Sqlite(db) => db.close().await,
            Database::Postgres(db) => db.close().await,
            #[cfg(test)]
            Database::Plain(_) => {}
        }
    }
}

impl Transaction {
    pub(super) fn dialect(&self) -> Dialect {
        match &self.0 {
            Held::Sqlite(_) => Dialect::Sqlite,
            Held::Postgres(_) => Dialect::Postgres,
            #[cfg(test)]
            Held::Plain(_) => Dialect::Sqlite,
        }
    }

    /// The rows that `select` finds stay as they are until this ends; waits for whoever changes them now. What is read
    /// afterwards is as true as under SQLite's single writer.
    pub(super) async fn hold(&mut self, select: &'static str, id: Uuid) -> Result<()> {
        let dialect = self.dialect();
        if dialect == Dialect::Postgres {
            self.execute(query(select).bind(id).hold_rows(dialect)).await?;
        }
        Ok(())
    }

    /// The same for many rows of a table, always in the same order, so that two never wait for each other.
    pub(super) async fn hold_all<'q, T: Into<Value<'q>>>(
        &mut self,
        table: &str,
        key: &str,
        keys: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let dialect = self.dialect();
        if dialect == Dialect::Postgres {
            let mut select = Statement::new(dialect, &format!("SELECT {key} FROM {table} WHERE {key}"));
            select.push_in(keys).push(&format!(" ORDER BY {key}")).hold_rows();
            self.execute(select.build().persistent(false)).await?;
        }
        Ok(())
    }

    /// On an error it may have been committed all the same, if the error says so.
    pub(super) async fn commit(self) -> Result<()> {
        match self.0 {
            Held::Sqlite(held) => held.commit().await,
            Held::Postgres(held) => held.commit().await,
            #[cfg(test)]
            Held::Plain(held) => held.commit().await,
        }
    }

    pub(super) async fn fetch_all(&mut self, query: Query<'_>) -> Result<Vec<Row>> {
        match &mut self.0 {
            Held::Sqlite(held) => held.fetch_all(query).await,
            Held::Postgres(held) => held.fetch_all(query).await,
            #[cfg(test)]
            Held::Plain(held) => Ok(held.fetch_all(query).await?.into_iter().map(Row::Plain).collect()),
        }
    }

    pub(super) async fn fetch_optional(&mut self, query: Query<'_>) -> Result<Option<Row>> {
        match &mut self.0 {
            Held::Sqlite(held) => held.fetch_optional(query).await,
            Held::Postgres(held) => held.fetch_optional(query).await,
            #[cfg(test)]
            Held::Plain(held) => Ok(held.fetch_all(query).await?.into_iter().next().map(Row::Plain)),
        }
    }

    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64> {
        match &mut self.0 {
            Held::Sqlite(held) => held.execute(query).await,
            Held::Postgres(held) => held.execute(query).await,
            #[cfg(test)]
            Held::Plain(held) => held.execute(query).await,
        }
    }

    /// Whether the database understands the statement.
    #[cfg(test)]
    pub(super) async fn prepare(&mut self, sql: &'static str) -> Result<()> {
        match &mut self.0 {
            Held::Sqlite(held) => held.prepare(sql).await,
            Held::Postgres(held) => held.prepare(sql).await,
            Held::Plain(held) => held.prepare(sql),
        }
    }
}
