//! A Postgres of the test's own, in processes that can be killed, frozen and started again on the same port.

use crate::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Where Debian keeps the server's programs, which are not in the path.
const DEBIAN_HOME: &str = "/usr/lib/postgresql";
/// Below the ports that the system gives to outgoing connections, so that nobody takes ours while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A kill of processes proves nothing about fsync, and costs a great deal with it.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "fsync=off",
    "logging_collector=off",
];

/// Its data is gone when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    home: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

/// Whom it runs as: it refuses to be root.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Postgres {
    pub async fn start() -> Result<Postgres> {
        let home = tempfile::Builder::new().prefix("promptroom-postgres-").tempdir()?;
        if let Some(Account { user, group }) = account()? {
            chown(home.path(), Some(user), Some(group))?;
        }
        let mut postgres = Postgres { home, address: free_address()?, process: None };
        let mut init = postgres.program("initdb")?;
        init.args(["-U", "promptroom", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]);
        let made = init.output().context("initdb cannot be started")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again().await?;
        Ok(postgres)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of a database without any tables.
    pub fn url(&self) -> String {
        format!("postgres://promptroom@{}/postgres", self.address)
    }

    /// What the current life has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts it on the same port and data, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Postgres already runs");
        let log = File::create(self.log_path())?;
        let mut command = self.program("postgres")?;
        command.args(["-p", &self.address.port().to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("postgres cannot be started")?);
        until("Postgres to answer", async || {
            let process = self.process.as_mut().context("Postgres does not run")?;
            if let Some(status) = process.try_wait()? {
                self.process = None;
                bail!("Postgres ended with {status}: {}", self.log());
            }
            let asked = Command::new("psql")
                .args([&self.url(), "--no-psqlrc", "-Atc", "SELECT 1"])
                .stdin(Stdio::null())
                .output()
                .context("psql cannot be started: is it installed?")?;
            Ok(asked.status.success().then_some(()))
        })
        .await
    }

    /// SIGKILL to all of its processes: what was not committed is lost.
    pub fn kill(&mut self) -> Result<()> {
        let all = self.signal(Signal::KILL);
        self.process.take().context("Postgres does not run")?.wait()?;
        all
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn program(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(path_of(name)?);
        if let Some(Account { user, group }) = account()? {
            command.uid(user).gid(group);
        }
        command.arg("-D").arg(self.home.path().join("data")).current_dir(self.home.path());
        command.stdin(Stdio::null());
        Ok(command)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let first = self.process.as_ref().context("Postgres does not run")?.id();
        // It makes the others: stopped, it makes no more of them.
        send(first.cast_signed(), Signal::STOP)?;
        let others = fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        for other in others.split_whitespace() {
            // It may have ended meanwhile.
            let _ = send(other.parse()?, signal);
        }
        send(first.cast_signed(), signal)
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("postgres.log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have been killed before; SIGKILL ends frozen processes, too.
        let _ = self.kill();
    }
}

fn send(pid: i32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(pid).context("a process id is not 0")?, signal)?)
}

/// Nobody else than we are, unless we are root.
fn account() -> Result<Option<Account>> {
    if !getuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.context("there is no user `postgres`: is it installed?")?.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd");
    Ok(Some(Account { user: number()?, group: number()? }))
}

/// Debian's newest, or whatever the path says.
fn path_of(name: &str) -> Result<PathBuf> {
    let Ok(versions) = fs::read_dir(DEBIAN_HOME) else { return Ok(PathBuf::from(name)) };
    let mut paths: Vec<PathBuf> =
        versions.flatten().map(|version| version.path().join("bin").join(name)).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.pop().with_context(|| format!("{name} is not installed below {DEBIAN_HOME}"))
}

fn free_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port in {PORTS:?}")
}
