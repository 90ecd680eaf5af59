//! `promptroom copy`: moving from one database to another, with nobody using either meanwhile.

use crate::app::lock_if_file;
use crate::store::{Store, copy};
use anyhow::{Context as _, ensure};

/// Copies everything into an empty database and says what was copied.
#[allow(clippy::print_stdout, reason = "what a person asked for at the terminal")]
pub async fn copy_database(from: &str, to: &str) -> anyhow::Result<()> {
    ensure!(from != to, "--from and --to name the same database");
    if !Store::is_shared(from) {
        let file = Store::file(from)?;
        ensure!(file.is_file(), "there is no database {}", file.display());
    }
    let _locks = (lock_if_file(from)?, lock_if_file(to)?);
    let source = Store::open(from).await.context("the database to copy from cannot be opened")?;
    source.migrate().await.context("the database to copy from cannot be brought to this version's schema")?;
    let target = Store::open(to).await.context("the database to copy to cannot be opened")?;
    let report = copy(&source, &target, |_, _| {}).await.context("nothing was copied")?;
    for table in &report.tables {
        let digest: String = table.sha256[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{:<16} {:>10} rows, sha256 {digest}… on both sides", table.name, table.rows);
    }
    println!("Both hold the same. Point PROMPTROOM_DATABASE_URL at the new one.");
    source.close().await;
    target.close().await;
    Ok(())
}
