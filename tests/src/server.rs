//! A real server in a process of its own, which can be killed and started again on the same data.

use crate::{Api, PATIENCE, http_client, until};
use anyhow::{Context, Result, bail, ensure};
use promptroom_protocol::Role;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};
use tempfile::TempDir;

const READY_LINE: &str = "Promptroom is at http://";
/// In the server's home: how far a movable clock is moved.
const CLOCK_FILE: &str = "clock";

/// What a test wants to be different from the defaults.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    environment: Vec<(String, String)>,
    lanes: Option<String>,
    build: Build,
}

/// Which server is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// The one that is tested.
    #[default]
    This,
    /// The one before it, which `tests/previous-build` names: what runs beside this one in a rolling deploy.
    Previous,
}

impl ServerSettings {
    pub fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// The content of the lanes file.
    pub fn lanes(mut self, toml: &str) -> Self {
        self.lanes = Some(toml.to_owned());
        self
    }

    pub fn build(mut self, build: Build) -> Self {
        self.build = build;
        self
    }

    /// Its wall clock can be moved with `Server::set_clock`; what counts only onwards is not touched.
    pub fn movable_clock(self) -> Result<Self> {
        let folders = fs::read_dir("/usr/lib")?.collect::<Result<Vec<_>, _>>()?;
        let libraries = folders.into_iter().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.into_iter().find(|path| path.is_file());
        let library = library.context("libfaketime is missing (Debian: apt-get install libfaketime)")?;
        Ok(self
            .environment("LD_PRELOAD", library.display())
            .environment("FAKETIME_TIMESTAMP_FILE", CLOCK_FILE)
            .environment("FAKETIME_NO_CACHE", 1)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", 1))
    }

    pub async fn start(self) -> Result<Server> {
        let home = tempfile::Builder::new().prefix("promptroom-test-").tempdir()?;
        if let Some(lanes) = &self.lanes {
            fs::write(home.path().join("lanes.toml"), lanes)?;
        }
        fs::write(home.path().join(CLOCK_FILE), "+0")?;
        let mut server = Server {
            settings: self,
            home,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: None,
            lives: 0,
        };
        server.start().await?;
        Ok(server)
    }
}

/// A server and its data directory; both are gone when it is dropped.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    home: TempDir,
    address: SocketAddr,
    process: Option<Child>,
    lives: usize,
}

impl Server {
    /// A server with the defaults and nothing in it.
    pub async fn fresh() -> Result<Server> {
        ServerSettings::default().start().await
    }

    /// `ws://127.0.0.1:port`; stays the same over restarts.
    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The SQLite file.
    pub fn database(&self) -> Result<PathBuf> {
        let files = fs::read_dir(self.data_dir())?.collect::<Result<Vec<_>, _>>()?;
        let is_database =
            |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"));
        files
            .into_iter()
            .map(|file| file.path())
            .find(is_database)
            .context("no database in the data directory")
    }

    /// The process that serves now.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server does not run")?.id())
    }

    /// Everything that the current life has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A new API token with this role.
    pub fn token(&self, role: Role) -> Result<String> {
        let name = format!("test {}", role.name());
        let mut command = self.command();
        command.args(["token", "create", "--name", &name, "--role", role.name()]);
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "`promptroom token create` failed: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().last().context("`promptroom token create` printed nothing")?.trim().to_owned())
    }

    /// The HTTP API as a program with this role.
    pub fn api(&self, role: Role) -> Result<Api> {
        Ok(Api::new(self.http(), self.token(role)?))
    }

    /// Runs `promptroom copy` where this server's data is; what it said.
    pub fn copy(&self, from: &str, to: &str) -> Result<Output> {
        Ok(self.command().args(["copy", "--from", from, "--to", to]).output()?)
    }

    /// A new link that signs in as the owner, once.
    pub fn link(&self) -> Result<String> {
        let output = self.command().arg("link").stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "`promptroom link` failed: {}", output.status);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Signs in as the owner by a printed link; returns the session's cookie.
    pub async fn sign_in(&self) -> Result<String> {
        let link = self.link()?;
        let secret = link.rsplit('/').next().context("`promptroom link` printed no link")?;
        let request = http_client().post(format!("{}/api/v1/session", self.http()));
        let body = serde_json::json!({"link": secret});
        let answer = request.header("origin", self.http()).json(&body).timeout(PATIENCE).send().await?;
        ensure!(answer.status() == 200, "the sign-in was answered with {}", answer.status());
        let cookie = answer.headers().get("set-cookie").context("no cookie")?.to_str()?;
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    }

    /// Starts it, at first or again, on the same address and data, and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.start_unready()?;
        self.until_ready().await
    }

    /// Starts it as a supervisor does, which does not wait.
    pub fn start_unready(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the server already runs");
        self.lives += 1;
        let log = File::create(self.log_path())?;
        let mut command = self.command();
        command.arg("serve").stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        self.process = Some(command.spawn().context("the server cannot be started")?);
        Ok(())
    }

    pub async fn until_ready(&mut self) -> Result<()> {
        let ready = self.look_until_ready().await;
        ready.with_context(|| format!("the server did not get ready; it said:\n{}", self.log()))
    }

    /// Which build is started next time.
    pub fn set_build(&mut self, build: Build) {
        self.settings.build = build;
    }

    /// From now on its wall clock is this many seconds ahead of ours, or behind if negative.
    pub fn set_clock(&self, ahead_s: i64) -> Result<()> {
        // In one step: the server never reads half of it.
        let (new, file) = (self.home.path().join("clock.new"), self.home.path().join(CLOCK_FILE));
        fs::write(&new, format!("{ahead_s:+}"))?;
        Ok(fs::rename(new, file)?)
    }

    /// Whether it does not run, because it was killed or has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        let Some(process) = &mut self.process else { return Ok(true) };
        let has_ended = process.try_wait()?.is_some();
        if has_ended {
            self.process = None;
        }
        Ok(has_ended)
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server does not run")?;
        until("the end of the server", async || Ok(process.try_wait()?)).await
    }

    /// Resident memory in bytes, as the operating system counts it.
    pub fn memory_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = line.split_whitespace().nth(1).context("VmRSS without a number")?.parse()?;
        Ok(kibibytes * 1024)
    }

    async fn look_until_ready(&mut self) -> Result<()> {
        let address = until("the server's address", async || {
            self.still_runs()?;
            Ok(self.log().lines().find_map(address_in))
        })
        .await?;
        self.address = address;
        let url = format!("http://{address}/readyz");
        let client = http_client();
        until("readiness", async || {
            self.still_runs()?;
            let answer = client.get(&url).timeout(PATIENCE).send().await;
            Ok(answer.is_ok_and(|answer| answer.status() == 200).then_some(()))
        })
        .await
    }

    fn still_runs(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the server does not run")?;
        match process.try_wait()? {
            Some(status) => bail!("the server ended: {status}"),
            None => Ok(()),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.settings.build.binary());
        command
            .env("PROMPTROOM_LISTEN", self.address.to_string())
            .env("PROMPTROOM_DATA_DIR", self.data_dir())
            .current_dir(self.home.path())
            .envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        if self.settings.lanes.is_some() {
            command.env("PROMPTROOM_LANES", self.home.path().join("lanes.toml"));
        }
        command
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed()).context("a process id is not 0")?;
        Ok(kill_process(pid, signal)?)
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join(format!("server-{}.log", self.lives))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; either way nothing is left of it.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's last lines ---\n{}", last_lines(&self.log(), 40));
        }
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(READY_LINE)?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

impl Build {
    /// The server of the same build profile as this test, `target/<profile>/promptroom`, or `target/previous/promptroom`.
    fn binary(self) -> PathBuf {
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile =
            test.ancestors().find(|path| path.join("deps").is_dir()).unwrap_or(Path::new("target/debug"));
        let folder = match self {
            Build::This => profile.to_owned(),
            Build::Previous => profile.with_file_name("previous"),
        };
        let binary = folder.join("promptroom");
        assert!(binary.is_file(), "{} is missing: build it first (`make test` does)", binary.display());
        binary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_line_that_the_server_prints() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4321)));
        assert_eq!(address_in("Promptroom is at http://127.0.0.1:4321"), expected);
        assert_eq!(address_in("Promptroom is at http://127.0.0.1:4321/ (data in ./data)"), expected);
        assert_eq!(address_in("sign in at http://127.0.0.1:4321"), None);
    }
}
