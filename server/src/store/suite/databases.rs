//! The databases that the suite runs on: a file of its own, one in memory, and a real Postgres that all tests share,
//! each in a database of its own.

use super::super::plain::{Hook, Shared, Step, Verdict};
use super::super::{Arc, Store};
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use uuid::Uuid;

/// Runs a test on an empty, migrated store of each kind.
pub(in crate::store) async fn on_each_database(test: impl AsyncFn(Store)) {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    test(store.clone()).await;
    store.close().await;
    test(Store::plain(&Shared::new(), Arc::new(Calm))).await;
    let postgres = postgres().await;
    test(postgres.store.clone()).await;
    postgres.remove().await;
}

pub(in crate::store) async fn open_in(directory: &tempfile::TempDir) -> Store {
    let store = Store::open(&url_in(directory)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

pub(in crate::store) fn url_in(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("promptroom.db").display())
}

/// Nothing ever goes wrong.
struct Calm;

impl Hook for Calm {
    fn before(&self, _step: Step) -> BoxFuture<'_, Verdict> {
        Box::pin(std::future::ready(Verdict::Go))
    }
}

/// A database of one test on the Postgres that all tests of a run share.
pub(in crate::store) struct Postgres {
    pub(in crate::store) store: Store,
    pub(in crate::store) url: String,
    name: String,
}

/// Empty and migrated: a copy of one that the first test makes.
pub(in crate::store) async fn postgres() -> Postgres {
    let mut server = PgConnection::connect(server()).await.unwrap();
    let exists = "SELECT 1 FROM pg_database WHERE datname = 'migrated'";
    server.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    if server.fetch_optional(exists).await.unwrap().is_none() {
        server.execute("CREATE DATABASE migrating").await.unwrap();
        let store = Store::open(&url_of("migrating")).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        server.execute("ALTER DATABASE migrating RENAME TO migrated").await.unwrap();
    }
    let name = format!("test_{}", Uuid::new_v4().simple());
    server.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE migrated"))).await.unwrap();
    server.close().await.unwrap();
    let url = url_of(&name);
    Postgres { store: Store::open(&url).await.unwrap(), url, name }
}

impl Postgres {
    pub(in crate::store) async fn remove(self) {
        self.store.close().await;
        let mut server = PgConnection::connect(server()).await.unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        server.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

fn url_of(database: &str) -> String {
    format!("{}/{database}", server().rsplit_once('/').unwrap().0)
}

/// Started by nextest for all tests, or else by this process for itself.
#[allow(clippy::disallowed_methods, reason = "nextest tells where the server is in the environment")]
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var("PROMPTROOM_TEST_POSTGRES") {
        Ok(url) => url,
        Err(_) => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/postgres.sh");
            let output = Command::new(script).arg(std::process::id().to_string()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    })
}
