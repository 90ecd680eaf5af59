//! The cluster's database as its operator sees it: through `psql`, a stranger to the server's own driver.

use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    str::FromStr,
};

/// Asks and changes, one statement a process.
#[derive(Clone, Debug)]
pub struct Sql {
    url: String,
}

impl Sql {
    pub fn at(url: impl Into<String>) -> Sql {
        Sql { url: url.into() }
    }

    /// All rows of an answer, as text.
    pub fn rows(&self, statement: &str) -> Result<Vec<Vec<String>>> {
        let output = psql(&self.url).args(["-c", statement]).stderr(Stdio::piped()).output()?;
        ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
    }

    /// The one value of an answer of one row and one column.
    pub fn value<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        statement: &str,
    ) -> Result<T> {
        let rows = self.rows(statement)?;
        let value =
            rows.first().and_then(|row| row.first()).with_context(|| format!("{statement}: no row"))?;
        value.parse().with_context(|| format!("{statement}: {value:?}"))
    }

    /// Does something whose answer does not matter.
    pub fn run(&self, statement: &str) -> Result<()> {
        self.rows(statement).map(drop)
    }

    /// Locks the rows of a `SELECT … FOR UPDATE`, as a node that stops in the middle of a commit does.
    pub fn lock(&self, select_for_update: &str) -> Result<RowLock> {
        let mut holder = psql(&self.url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = holder.stdin.take().context("a piped input")?;
        writeln!(stdin, "BEGIN;\n{select_for_update};\n\\echo held")?;
        let stdout = holder.stdout.take().context("a piped output")?;
        let mut lines = BufReader::new(stdout).lines();
        let held = lines.by_ref().map_while(Result::ok).any(|line| line == "held");
        ensure!(held, "the rows were not locked");
        Ok(RowLock { holder, stdin: Some(stdin) })
    }
}

/// Nobody else can change the rows while this exists.
#[derive(Debug)]
pub struct RowLock {
    holder: Child,
    stdin: Option<ChildStdin>,
}

impl RowLock {
    pub fn release(self) {}
}

impl Drop for RowLock {
    fn drop(&mut self) {
        // psql ends with its input, and its transaction with it.
        self.stdin.take();
        let _ = self.holder.wait();
    }
}

fn psql(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.arg(url).args(["--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Postgres;

    #[tokio::test]
    async fn a_locked_row_cannot_be_changed_until_it_is_released() {
        let postgres = Postgres::start().await.unwrap();
        let sql = Sql::at(postgres.url());
        sql.run("CREATE TABLE things (id int, name text); INSERT INTO things VALUES (1, 'a'), (2, 'b')")
            .unwrap();
        let lock = sql.lock("SELECT 1 FROM things WHERE id = 1 FOR UPDATE").unwrap();
        let change = |id: u32| {
            sql.run(&format!("SET lock_timeout = '200ms'; UPDATE things SET name = 'c' WHERE id = {id}"))
        };
        assert!(change(2).is_ok());
        assert!(change(1).is_err());
        lock.release();
        assert!(change(1).is_ok());
        assert_eq!(sql.value::<u32>("SELECT count(*) FROM things WHERE name = 'c'").unwrap(), 2);
    }
}
