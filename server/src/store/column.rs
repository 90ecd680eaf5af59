//! How our types lie in columns: whole numbers are i64, ids are 16 bytes, closed sets are their wire words.

use super::database::Row;
use super::{Result, StoreError};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::Row as _;
use uuid::Uuid;

macro_rules! get {
    ($row:expr, $name:expr) => {
        match $row {
            Row::Sqlite(row) => Ok(row.try_get($name)?),
            Row::Postgres(row) => Ok(row.try_get($name)?),
            #[cfg(test)]
            Row::Plain(row) => row.get($name),
        }
    };
}

/// Reads columns by name; what cannot be read is damage, never a default.
pub(super) trait Columns {
    fn uuid(&self, name: &str) -> Result<Uuid>;
    fn maybe_uuid(&self, name: &str) -> Result<Option<Uuid>>;
    fn signed(&self, name: &str) -> Result<i64>;
    fn maybe_signed(&self, name: &str) -> Result<Option<i64>>;
    fn text(&self, name: &str) -> Result<String>;
    fn maybe_text(&self, name: &str) -> Result<Option<String>>;
    fn bytes(&self, name: &str) -> Result<Bytes>;
    fn maybe_bytes(&self, name: &str) -> Result<Option<Vec<u8>>>;

    fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T> {
        T::try_from(self.signed(name)?).map_err(|_| out_of_range(name))
    }

    fn maybe_number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>> {
        self.maybe_signed(name)?.map(|value| T::try_from(value).map_err(|_| out_of_range(name))).transpose()
    }

    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        parse_word(name, self.text(name)?)
    }

    fn maybe_word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.maybe_text(name)?.map(|text| parse_word(name, text)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        parse_json(name, &self.text(name)?)
    }

    fn maybe_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.maybe_text(name)?.map(|text| parse_json(name, &text)).transpose()
    }
}

impl Columns for Row {
    fn uuid(&self, name: &str) -> Result<Uuid> {
        get!(self, name)
    }

    fn maybe_uuid(&self, name: &str) -> Result<Option<Uuid>> {
        get!(self, name)
    }

    fn signed(&self, name: &str) -> Result<i64> {
        get!(self, name)
    }

    fn maybe_signed(&self, name: &str) -> Result<Option<i64>> {
        get!(self, name)
    }

    fn text(&self, name: &str) -> Result<String> {
        get!(self, name)
    }

    fn maybe_text(&self, name: &str) -> Result<Option<String>> {
        get!(self, name)
    }

    fn bytes(&self, name: &str) -> Result<Bytes> {
        let bytes: Result<Vec<u8>> = get!(self, name);
        bytes.map(Bytes::from)
    }

    fn maybe_bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        get!(self, name)
    }
}

/// Databases have no unsigned numbers; nothing that we count comes near the end of theirs.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn maybe_int(value: Option<u64>) -> Option<i64> {
    value.map(int)
}

pub(super) fn len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// The word that stands for a value on the wire, without its quotes.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only closed sets of words are stored as words, not {other:?}"),
    }
}

fn parse_word<T: DeserializeOwned>(name: &str, text: String) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text))
        .map_err(|error| StoreError::Corrupt(format!("column {name}: {error}")))
}

fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("column {name}: {error}")))
}

fn out_of_range(name: &str) -> StoreError {
    StoreError::Corrupt(format!("column {name} is out of range"))
}
