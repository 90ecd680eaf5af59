//! Everything from one database into an empty one of any kind, proven equal before it counts.

mod tables;

use super::column::{Columns, len};
use super::database::{Row, Transaction};
use super::postgres::storable;
use super::query::{Dialect, Statement, Value, query};
use super::{Result, Store, StoreError};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use tables::{Column, TABLES, Table};

/// Rows of one statement, unless they are large: then fewer.
const ROWS_AT_ONCE_MAX: usize = 1_000;
const ROWS_AT_ONCE_FIRST: usize = 64;
const BYTES_AT_ONCE: u64 = 4 << 20;
const VALUES_AT_ONCE: usize = 30_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// In the order in which they were copied.
    pub tables: Vec<CopiedTable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    pub name: &'static str,
    pub rows: u64,
    /// Of all its rows in the order of their key: the same in both databases.
    pub sha256: [u8; 32],
}

/// Copies what `from` holds at one moment into `to`, which is brought up to the schema and must be empty. All of it in
/// one transaction, which is committed only if what was read back is what was sent. `progress` is told of each table,
/// and of its rows so far. Open `to` again before using it: its workspace is another one.
///
/// `Unusable` if `to` is not empty, `Corrupt` if the two differ in the end.
pub async fn copy(from: &Store, to: &Store, mut progress: impl FnMut(&str, u64)) -> Result<CopyReport> {
    to.migrate().await?;
    let mut source = from.db.read_long().await?;
    let mut target = to.db.write_long().await?;
    clear(&mut target).await?;
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let sent = copy_table(&mut source, &mut target, table, &mut progress).await?;
        let found = read_table(&mut target, table).await?;
        if sent != found {
            return Err(StoreError::Corrupt(format!(
                "{}: {} rows were sent, {} were found, and their digests differ",
                table.name, sent.rows, found.rows
            )));
        }
        tables.push(sent);
    }
    target.commit().await?;
    Ok(CopyReport { tables })
}

/// Only the workspace that every new database has may be there; it makes room for the source's.
async fn clear(target: &mut Transaction) -> Result<()> {
    for table in TABLES {
        let mut page = Pages::new(table);
        let rows = page.next(target).await?.len();
        if rows > usize::from(table.name == "workspaces") {
            let line = format!("the database to copy to is not empty: it has {}", table.name);
            return Err(StoreError::Unusable(line));
        }
    }
    query("DELETE FROM workspaces").execute(target).await?;
    Ok(())
}

async fn copy_table(
    source: &mut Transaction,
    target: &mut Transaction,
    table: &'static Table,
    progress: &mut impl FnMut(&str, u64),
) -> Result<CopiedTable> {
    let mut sum = Sum::new(table);
    let mut pages = Pages::new(table);
    loop {
        progress(table.name, sum.rows);
        let rows = pages.next(source).await?;
        if rows.is_empty() {
            return Ok(sum.done());
        }
        for row in &rows {
            sum.add(row);
        }
        for rows in rows.chunks(VALUES_AT_ONCE / table.columns.len()) {
            insert(target, table, rows).await?;
        }
    }
}

async fn read_table(transaction: &mut Transaction, table: &'static Table) -> Result<CopiedTable> {
    let mut sum = Sum::new(table);
    let mut pages = Pages::new(table);
    loop {
        let rows = pages.next(transaction).await?;
        if rows.is_empty() {
            return Ok(sum.done());
        }
        for row in &rows {
            sum.add(row);
        }
    }
}

async fn insert(target: &mut Transaction, table: &Table, rows: &[Vec<Value<'static>>]) -> Result<()> {
    let mut statement = Statement::new(target.dialect(), &format!("INSERT INTO {} (", table.name));
    statement.push(&table.names().join(", ")).push(") ");
    statement.push_values(rows, |values, row| {
        for value in row {
            values.push_bind(value.clone());
        }
    });
    statement.build().persistent(false).execute(target).await?;
    Ok(())
}

/// A table's rows in the order of its key, some at a time.
struct Pages {
    table: &'static Table,
    /// The key of the last row read.
    after: Option<Vec<Value<'static>>>,
    rows_at_once: usize,
}

impl Pages {
    fn new(table: &'static Table) -> Pages {
        Pages { table, after: None, rows_at_once: ROWS_AT_ONCE_FIRST }
    }

    /// None at the end.
    async fn next(&mut self, transaction: &mut Transaction) -> Result<Vec<Vec<Value<'static>>>> {
        let rows =
            self.select(transaction.dialect()).build().persistent(false).fetch_all(transaction).await?;
        let rows = rows.iter().map(|row| read(self.table, row)).collect::<Result<Vec<_>>>()?;
        let bytes: u64 = rows.iter().flatten().map(size).sum();
        if bytes > BYTES_AT_ONCE {
            self.rows_at_once = (self.rows_at_once / 2).max(1);
        } else if bytes < BYTES_AT_ONCE / 4 {
            self.rows_at_once = (self.rows_at_once * 2).min(ROWS_AT_ONCE_MAX);
        }
        if let Some(last) = rows.last() {
            self.after = Some(self.table.key.iter().map(|&index| last[index].clone()).collect());
        }
        Ok(rows)
    }

    fn select(&self, dialect: Dialect) -> Statement<'static> {
        let table = self.table;
        let mut order = String::new();
        for (place, &index) in table.key.iter().enumerate() {
            let (name, kind) = table.columns[index];
            // Both in the order of bytes, whatever the database's language is.
            let collation =
                if kind == Column::Text && dialect == Dialect::Postgres { " COLLATE \"C\"" } else { "" };
            let comma = if place > 0 { ", " } else { "" };
            let _ = write!(order, "{comma}{name}{collation}");
        }
        let names = table.names().join(", ");
        let mut select = Statement::new(dialect, &format!("SELECT {names} FROM {}", table.name));
        if let Some(after) = &self.after {
            select.push(&format!(" WHERE ({order}) > ("));
            for (place, value) in after.iter().enumerate() {
                select.push(if place > 0 { ", " } else { "" }).push_bind(value.clone());
            }
            select.push(")");
        }
        select.push(&format!(" ORDER BY {order} LIMIT ")).push_bind(self.rows_at_once as i64);
        select
    }
}

fn read(table: &Table, row: &Row) -> Result<Vec<Value<'static>>> {
    let value = |(name, kind): &(&str, Column)| {
        Ok(match kind {
            Column::Uuid => Value::from(row.maybe_uuid(name)?),
            Column::Int => Value::from(row.maybe_signed(name)?),
            Column::Text => {
                let text = row.maybe_text(name)?;
                Value::Text(text.map(|text| Cow::Owned(storable(Cow::Owned(text)).into_owned())))
            }
            Column::Bytes => Value::from(row.maybe_bytes(name)?),
        })
    };
    table.columns.iter().map(value).collect()
}

fn size(value: &Value<'_>) -> u64 {
    match value {
        Value::Text(Some(text)) => len(text.as_bytes()),
        Value::Bytes(Some(bytes)) => len(bytes),
        _ => 16,
    }
}

/// A digest that does not depend on the database: each value with its kind and its length.
struct Sum {
    table: &'static Table,
    rows: u64,
    hash: Sha256,
}

impl Sum {
    fn new(table: &'static Table) -> Sum {
        Sum { table, rows: 0, hash: Sha256::new() }
    }

    fn add(&mut self, row: &[Value<'_>]) {
        self.rows += 1;
        for value in row {
            match value {
                Value::Uuid(Some(id)) => self.value(1, id.as_bytes()),
                Value::Int(Some(number)) => self.value(2, &number.to_be_bytes()),
                Value::Text(Some(text)) => self.value(3, text.as_bytes()),
                Value::Bytes(Some(bytes)) => self.value(4, bytes),
                _ => self.value(0, &[]),
            }
        }
    }

    fn value(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update([kind]);
        self.hash.update(len(bytes).to_be_bytes());
        self.hash.update(bytes);
    }

    fn done(self) -> CopiedTable {
        CopiedTable { name: self.table.name, rows: self.rows, sha256: self.hash.finalize().into() }
    }
}

#[cfg(test)]
mod tests;
