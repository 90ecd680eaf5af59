//! How long one durable commit takes on a disk: what no store can be faster than.

use crate::latency::Latency;
use anyhow::Result;
use std::{fs::OpenOptions, io::Write, path::Path, time::Instant};

/// One page and its header, as SQLite's log writes a small commit.
const COMMIT_BYTES: usize = 4096 + 24;
const WARM_UP_COMMITS: usize = 10;

/// Appends `commits` times a page to a file in `directory`, with `fdatasync` after each, one after the other.
pub async fn time_commits(directory: &Path, commits: usize) -> Result<Latency> {
    let directory = directory.to_owned();
    tokio::task::spawn_blocking(move || {
        let file = tempfile::NamedTempFile::new_in(directory)?;
        let mut file = OpenOptions::new().append(true).open(file.path())?;
        let page = [7u8; COMMIT_BYTES];
        let latency = Latency::default();
        for number in 0..WARM_UP_COMMITS + commits {
            let started = Instant::now();
            file.write_all(&page)?;
            file.sync_data()?;
            if number >= WARM_UP_COMMITS {
                latency.record(started.elapsed());
            }
        }
        Ok(latency)
    })
    .await?
}
