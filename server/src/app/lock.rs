//! One server for each SQLite file. Several on one Postgres are as it should be.

use crate::store::{Store, StoreError};
use anyhow::Context as _;
use std::{fs::File, path::PathBuf};

/// Two servers on one file would each believe that the other's runs are dead; the lock dies with its holder. A database
/// that is a server needs none.
pub fn lock_if_file(url: &str) -> anyhow::Result<Option<File>> {
    if Store::is_shared(url) {
        return Ok(None);
    }
    let path = database_file(url)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let lock = path.with_added_extension("lock");
    let file = File::create(&lock).with_context(|| format!("{} cannot be made", lock.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another promptroom serves from {}", path.display()))?;
    Ok(Some(file))
}

/// Where it really is, so that two names of one file have one lock.
fn database_file(url: &str) -> Result<PathBuf, StoreError> {
    let path = Store::file(url)?;
    Ok(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_lies_beside_the_database_however_it_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().canonicalize().expect("a path").join("p.db");
        std::fs::write(&file, "").expect("a file");
        std::os::unix::fs::symlink(&file, folder.path().join("other.db")).expect("a link");
        for name in ["sqlite://{}/p.db", "sqlite:{}/p.db", "sqlite://{}/./other.db"] {
            let url = name.replace("{}", &folder.path().display().to_string());
            assert_eq!(database_file(&url).expect("a path"), file, "{url}");
        }
        assert!(database_file("postgres://somewhere").is_err());
    }
}
