//! The engine that browsers run, asked for a second opinion.

use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// The root text `root` after a fresh Yjs document took `update`.
pub fn yjs_text(update: &[u8], root: &str) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/replay.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("node cannot be started")?;
    node.stdin.take().context("a piped input")?.write_all(update)?;
    let output = node.wait_with_output()?;
    ensure!(output.status.success(), "the replay in Yjs failed; are the packages of tests/peers installed?");
    Ok(String::from_utf8(output.stdout)?)
}
