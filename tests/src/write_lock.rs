//! SQLite's write lock, held from outside the server as another program could hold it.

use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Python's own SQLite, so that the server's is met by a stranger.
const HOLDER: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()
connection.execute('ROLLBACK')
";

/// Nobody else can write while this exists.
#[derive(Debug)]
pub struct WriteLock {
    holder: Child,
    stdin: Option<ChildStdin>,
}

impl WriteLock {
    pub fn hold(database: &Path) -> Result<WriteLock> {
        let mut holder = Command::new("python3")
            .args(["-c", HOLDER])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3 cannot be started")?;
        let mut said = String::new();
        let stdout = holder.stdout.take().context("a piped output")?;
        BufReader::new(stdout).read_line(&mut said)?;
        ensure!(said.trim() == "held", "the write lock was not got");
        let stdin = holder.stdin.take();
        Ok(WriteLock { holder, stdin })
    }

    pub fn release(self) {}
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // The holder lets go when its input ends.
        self.stdin.take();
        let _ = self.holder.wait();
    }
}
