//! A Postgres and a Redis for a cluster that is measured: private, on the measured side's core, and as durable as they
//! are out of the box.

use crate::process::{Account, Process};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const START_PATIENCE: Duration = Duration::from_secs(20);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// Where Debian keeps the server's programs, which are not in the path.
const DEBIAN_HOME: &str = "/usr/lib/postgresql";
const SETTINGS: &[&str] = &[
    "max_connections=200",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    "logging_collector=off",
];

/// Ends, with its data, when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    _home: TempDir,
    address: SocketAddr,
}

/// Keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    address: SocketAddr,
}

/// Who Postgres runs as: it refuses to be root.
#[derive(Clone, Copy, Debug)]
struct User {
    user: u32,
    group: u32,
}

impl Postgres {
    /// With a data directory below `scratch`: the disk whose commits are measured.
    pub async fn start(scratch: &Path) -> Result<Postgres> {
        let home = TempDir::with_prefix_in("promptroom-bench-postgres-", scratch)?;
        let account = User::for_postgres()?;
        if let Some(User { user, group }) = account {
            chown(home.path(), Some(user), Some(group))?;
        }
        let data = home.path().join("data");
        let mut init = program("initdb", account)?;
        init.arg("-D").arg(&data).args(["-U", "promptroom", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        let made = init.current_dir(home.path()).stdin(Stdio::null()).output().context("initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        let address = free_address()?;
        let mut server = program("postgres", account)?;
        server.arg("-D").arg(&data).args(["-p", &address.port().to_string()]).current_dir(home.path());
        SETTINGS.iter().for_each(|setting| {
            server.args(["-c", setting]);
        });
        let process = Process::start(server.stderr(fs::File::create(home.path().join("log"))?))?;
        let postgres = Postgres { process, _home: home, address };
        let deadline = Instant::now() + START_PATIENCE;
        while let Err(error) = postgres.value::<u32>("SELECT 1") {
            ensure!(Instant::now() < deadline, "Postgres did not start: {error:#}");
            sleep(PROBE_INTERVAL).await;
        }
        Ok(postgres)
    }

    /// It has a process for each connection.
    pub fn account(&self) -> Account {
        self.process.account().with_children()
    }

    pub fn url(&self) -> String {
        format!("postgres://promptroom@{}/postgres", self.address)
    }

    /// The one value that a statement answers with.
    pub fn value<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        statement: &str,
    ) -> Result<T> {
        let mut psql = Command::new("psql");
        psql.arg(self.url()).args(["--no-psqlrc", "-At", "-c", statement]);
        let answer = psql.stdin(Stdio::null()).output().context("psql cannot be started")?;
        ensure!(answer.status.success(), "{statement}: {}", String::from_utf8_lossy(&answer.stderr));
        let text = String::from_utf8(answer.stdout)?;
        text.trim().parse().with_context(|| format!("{statement}: {text:?}"))
    }
}

impl Redis {
    pub async fn start() -> Result<Redis> {
        let address = free_address()?;
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        server.args(["--save", "", "--appendonly", "no", "--loglevel", "warning"]).stderr(Stdio::null());
        let redis = Redis { process: Process::start(&mut server)?, address };
        let deadline = Instant::now() + START_PATIENCE;
        while let Err(error) = TcpStream::connect(address) {
            ensure!(Instant::now() < deadline, "Redis did not start: {error}");
            sleep(PROBE_INTERVAL).await;
        }
        Ok(redis)
    }

    pub fn account(&self) -> Account {
        self.process.account()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl User {
    /// Nobody else than we are, unless we are root.
    fn for_postgres() -> Result<Option<User>> {
        if !rustix::process::getuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let line = accounts.lines().find(|line| line.starts_with("postgres:"));
        let line = line.context("there is no user `postgres` to run it as")?;
        let mut fields = line.split(':').skip(2);
        let mut number = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd");
        Ok(Some(User { user: number()?, group: number()? }))
    }
}

fn program(name: &str, account: Option<User>) -> Result<Command> {
    let mut command = Command::new(path_of(name)?);
    if let Some(User { user, group }) = account {
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// The newest one that Debian has, or whatever the path says.
fn path_of(name: &str) -> Result<PathBuf> {
    let Ok(versions) = fs::read_dir(DEBIAN_HOME) else { return Ok(PathBuf::from(name)) };
    let mut paths: Vec<PathBuf> =
        versions.flatten().map(|version| version.path().join("bin").join(name)).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    match paths.pop() {
        Some(path) => Ok(path),
        None => bail!("{name} is not installed below {DEBIAN_HOME}"),
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
