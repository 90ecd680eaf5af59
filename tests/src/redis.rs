//! A Redis of the test's own, in a process that can be killed, frozen and started again on the same port.
//!
//! The server's own tests read this file too, so it names nothing of this crate but its neighbour `wait`.

use super::wait::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const STARTS_MAX: usize = 10;
/// Below the ports that the system gives to outgoing connections, so that nobody takes ours while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Nothing of it is on disk; it is gone when it is dropped.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    arguments: Vec<String>,
    home: TempDir,
    process: Option<Child>,
}

impl Redis {
    pub async fn start() -> Result<Redis> {
        Redis::start_with(&[]).await
    }

    /// With further arguments of `redis-server`, such as `--requirepass`, `secret`.
    pub async fn start_with(arguments: &[&str]) -> Result<Redis> {
        for _ in 0..STARTS_MAX {
            let mut redis = Redis {
                address: free_address()?,
                arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
                home: tempfile::Builder::new().prefix("promptroom-redis-").tempdir()?,
                process: None,
            };
            // Somebody else may have taken the port between our look and our start.
            match redis.start_again().await {
                Err(_) if redis.log().contains("Address already in use") => {}
                started => return started.map(|()| redis),
            }
        }
        bail!("no port for Redis after {STARTS_MAX} tries")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("Redis does not run")?.id())
    }

    /// What the current life has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts it on the same port, with nothing in it, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Redis already runs");
        let log = File::create(self.log_path())?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(self.home.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(command.spawn().context("redis-server cannot be started: is it installed?")?);
        until("Redis to answer", async || {
            let process = self.process.as_mut().context("Redis does not run")?;
            if let Some(status) = process.try_wait()? {
                self.process = None;
                bail!("Redis ended with {status}: {}", self.log());
            }
            let answer = self.ask(&["PING"])?;
            Ok((answer.contains("PONG") || answer.contains("NOAUTH")).then_some(()))
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("Redis does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    pub fn flush_all(&self) -> Result<()> {
        self.command(&["FLUSHALL"]).map(drop)
    }

    /// Cuts off everybody who has subscribed to something; returns how many there were.
    pub fn kill_subscribers(&self) -> Result<usize> {
        let answer = self.command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        answer.parse().with_context(|| format!("Redis says {answer}"))
    }

    /// How many have subscribed to the channel.
    pub fn subscribers(&self, channel: &str) -> Result<usize> {
        let answer = self.command(&["PUBSUB", "NUMSUB", channel])?;
        let number = answer.lines().last().context("an empty answer")?;
        number.parse().with_context(|| format!("Redis says {answer}"))
    }

    /// What `redis-cli` prints for this command; an error that Redis answers is an error.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.ask(arguments)?;
        ensure!(!answer.starts_with("ERR") && !answer.starts_with("Could not connect"), "{answer}");
        Ok(answer)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let port = self.address.port().to_string();
        let output =
            Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(arguments).output();
        let output = output.context("redis-cli cannot be started: is it installed?")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed()).context("a process id is not 0")?;
        Ok(kill_process(pid, signal)?)
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("redis.log")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; either way nothing is left of it. SIGKILL ends a frozen one, too.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port in {PORTS:?}")
}
