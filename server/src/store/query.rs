//! One statement with its values, in a form that every database understands: `$1` in those that are written down,
//! `?` in those that are put together.

use super::database::{Row, Transaction};
use super::{Result, StoreError};
use std::borrow::Cow;
use std::fmt::Write;
use uuid::Uuid;

/// A value for a statement. Nulls have a type too: Postgres asks for it.
#[derive(Clone, Debug)]
pub(super) enum Value<'q> {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
    /// Whole columns, which only Postgres takes.
    Uuids(Vec<Uuid>),
    Ints(Vec<i64>),
    Texts(Vec<Option<Cow<'q, str>>>),
    Blobs(Vec<&'q [u8]>),
}

macro_rules! values_from {
    ($($kind:ty => $variant:ident;)*) => {
        $(impl<'q> From<$kind> for Value<'q> {
            fn from(value: $kind) -> Value<'q> {
                Value::$variant(Some(value.into()))
            }
        }

        impl<'q> From<Option<$kind>> for Value<'q> {
            fn from(value: Option<$kind>) -> Value<'q> {
                Value::$variant(value.map(Into::into))
            }
        })*
    };
}

values_from! {
    Uuid => Uuid;
    i64 => Int;
    &'q str => Text;
    String => Text;
    &'q [u8] => Bytes;
    Vec<u8> => Bytes;
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(value: &'q String) -> Value<'q> {
        Value::from(value.as_str())
    }
}

/// Where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// One writer at a time: what a writing transaction reads stays true until it ends.
    Sqlite,
    /// Writers side by side, each statement seeing what was committed before it began: rows are locked by name.
    Postgres,
}

pub(super) fn query<'q>(sql: &'static str) -> Query<'q> {
    Query { sql: Cow::Borrowed(sql), values: Vec::new(), persistent: true }
}

pub(super) struct Query<'q> {
    pub(super) sql: Cow<'static, str>,
    pub(super) values: Vec<Value<'q>>,
    /// Whether the connection keeps the prepared statement.
    pub(super) persistent: bool,
}

impl<'q> Query<'q> {
    /// The next value: the first is `$1`.
    pub(super) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// The rows found stay as they are until the transaction ends; waits for whoever changes them now.
    pub(super) fn hold_rows(mut self, dialect: Dialect) -> Self {
        self.sql.to_mut().push_str(dialect.hold_rows());
        self
    }

    pub(super) async fn fetch_all(self, transaction: &mut Transaction) -> Result<Vec<Row>> {
        transaction.fetch_all(self).await
    }

    pub(super) async fn fetch_optional(self, transaction: &mut Transaction) -> Result<Option<Row>> {
        transaction.fetch_optional(self).await
    }

    pub(super) async fn fetch_one(self, transaction: &mut Transaction) -> Result<Row> {
        transaction.fetch_optional(self).await?.ok_or_else(|| StoreError::Other(sqlx::Error::RowNotFound))
    }

    /// How many rows were changed.
    pub(super) async fn execute(self, transaction: &mut Transaction) -> Result<u64> {
        transaction.execute(self).await
    }
}

impl Dialect {
    /// What a `SELECT` ends with, if what it finds must not change before the transaction ends.
    pub(super) fn hold_rows(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            // Weaker than FOR UPDATE: rows that only refer to these may come and go.
            Dialect::Postgres => " FOR NO KEY UPDATE",
        }
    }
}

/// A statement whose length depends on what it is about.
pub(super) struct Statement<'q> {
    dialect: Dialect,
    query: Query<'q>,
}

impl<'q> Statement<'q> {
    pub(super) fn new(dialect: Dialect, sql: &str) -> Statement<'q> {
        let query = Query { sql: Cow::Owned(sql.to_owned()), values: Vec::new(), persistent: true };
        Statement { dialect, query }
    }

    pub(super) fn push(&mut self, sql: &str) -> &mut Self {
        self.query.sql.to_mut().push_str(sql);
        self
    }

    pub(super) fn push_bind(&mut self, value: impl Into<Value<'q>>) -> &mut Self {
        self.query.values.push(value.into());
        let sql = self.query.sql.to_mut();
        match self.dialect {
            // Numbered ones are searched for, one by one, in a list: thousands of them would take seconds.
            Dialect::Sqlite => sql.push('?'),
            Dialect::Postgres => {
                let _ = write!(sql, "${}", self.query.values.len());
            }
        }
        self
    }

    /// `VALUES (…), (…)`
    pub(super) fn push_values<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut Values<'_, 'q>, T),
    ) {
        self.push("VALUES ");
        for (index, row) in rows.into_iter().enumerate() {
            self.push(if index == 0 { "(" } else { ", (" });
            push(&mut Values { statement: self, any: false }, row);
            self.push(")");
        }
    }

    /// `IN (…)`
    pub(super) fn push_in<T: Into<Value<'q>>>(&mut self, values: impl IntoIterator<Item = T>) -> &mut Self {
        self.push(" IN (");
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self.push(")")
    }

    pub(super) fn hold_rows(&mut self) -> &mut Self {
        self.push(self.dialect.hold_rows())
    }

    pub(super) fn build(self) -> Query<'q> {
        self.query
    }
}

/// One row of `push_values`.
pub(super) struct Values<'s, 'q> {
    statement: &'s mut Statement<'q>,
    any: bool,
}

impl<'q> Values<'_, 'q> {
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'q>>) -> &mut Self {
        if self.any {
            self.statement.push(", ");
        }
        self.any = true;
        self.statement.push_bind(value);
        self
    }
}
