//! The processes that are measured: the product with a data directory of its own, and the references.

use crate::{
    process::Process,
    target::{Members, Target},
};
use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const START_PATIENCE: Duration = Duration::from_secs(20);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

const LANES: &str = "lanes.toml";

/// How the product is started.
#[derive(Clone, Debug)]
pub struct SubjectOptions {
    pub binary: PathBuf,
    /// Where data directories are made: the disk whose commits are measured.
    pub scratch: PathBuf,
    /// More variables for the server, `NAME=value`.
    pub variables: Vec<(String, String)>,
    pub members: Members,
}

/// A running server and all that is needed to speak to it.
#[derive(Debug)]
pub struct Subject {
    pub process: Process,
    pub address: SocketAddr,
    pub token: String,
    options: SubjectOptions,
    data: TempDir,
}

/// A running reference.
#[derive(Debug)]
pub struct Reference {
    pub process: Process,
    pub target: Target,
}

impl Subject {
    /// Starts the server with the lane `load` at `upstream` and waits until it is ready.
    pub async fn start(options: &SubjectOptions, upstream: SocketAddr, models: &[String]) -> Result<Subject> {
        let data = TempDir::with_prefix_in("promptroom-bench-", &options.scratch)?;
        write_lanes(&data.path().join(LANES), upstream, models)?;
        let address = free_address()?;
        let token = new_token(options, data.path(), "load")?;
        let process = launch(options, address, data.path())?;
        let subject = Subject { process, address, token, options: options.clone(), data };
        subject.wait_until_ready().await?;
        Ok(subject)
    }

    /// Kills it without a warning and starts it again, on the same address and data; waits until it is ready.
    pub async fn kill_and_start(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(&self.options, self.address, self.data.path())?;
        self.wait_until_ready().await
    }

    /// A new API token of its own principal.
    pub fn mint(&self, name: &str) -> Result<String> {
        new_token(&self.options, self.data.path(), name)
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    pub fn target(&self) -> Target {
        self.target_of(&self.token)
    }

    pub fn target_of(&self, token: &str) -> Target {
        Target::Promptroom {
            bases: vec![self.base()],
            token: token.to_owned(),
            members: self.options.members,
        }
    }

    pub fn base(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A prompt that can be run, for the whole workspace.
    pub async fn prompt(&self, slug: &str) -> Result<()> {
        let api = crate::http::Api { address: self.address, token: Some(self.token.clone()) };
        let message = serde_json::json!({ "role": "user", "text": "Go." });
        let content = serde_json::json!({ "variants": [{ "messages": [message] }] });
        let body =
            serde_json::json!({ "slug": slug, "title": slug, "visibility": "workspace", "content": content });
        api.post("/api/v1/prompts", &body).await?;
        Ok(())
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let api = crate::http::Api { address: self.address, token: None };
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(answer) = api.request(hyper::Method::GET, "/readyz", &[], None).await
                && answer.status() == 200
            {
                return Ok(());
            }
            sleep(PROBE_INTERVAL).await;
        }
        let log = std::fs::read_to_string(self.data.path().join("server.log")).unwrap_or_default();
        anyhow::bail!("the server was not ready within {START_PATIENCE:?}:\n{log}")
    }
}

fn launch(options: &SubjectOptions, address: SocketAddr, data: &Path) -> Result<Process> {
    let mut command = Command::new(&options.binary);
    command
        .arg("serve")
        .env("PROMPTROOM_LISTEN", address.to_string())
        .env("PROMPTROOM_DATA_DIR", data)
        .env("PROMPTROOM_LANES", data.join(LANES))
        .envs(options.variables.iter().map(|(name, value)| (name, value)))
        .stderr(std::fs::File::create(data.join("server.log"))?);
    Process::start(&mut command)
}

impl Reference {
    /// This program itself as the bare relay.
    pub fn relay() -> Result<Reference> {
        let (process, address) = start_self(&["relay"])?;
        Ok(Reference { process, target: Target::Relay(address) })
    }

    /// This program itself as plain TCP fan-out.
    pub fn raw() -> Result<Reference> {
        let (process, address) = start_self(&["relay", "--raw"])?;
        Ok(Reference { process, target: Target::Raw(address) })
    }
}

fn start_self(arguments: &[&str]) -> Result<(Process, SocketAddr)> {
    let program = std::env::current_exe()?;
    let mut process = Process::start(Command::new(program).args(arguments))?;
    let address = process.line()?.parse().context("the relay did not print its address")?;
    Ok((process, address))
}

fn new_token(options: &SubjectOptions, data: &Path, name: &str) -> Result<String> {
    let output = Command::new(&options.binary)
        .args(["token", "create", "--name", name, "--role", "owner"])
        .env("PROMPTROOM_DATA_DIR", data)
        .envs(options.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", options.binary.display()))?;
    ensure!(output.status.success(), "no token: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let last = printed.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Ok(last.context("`token create` printed nothing")?.to_owned())
}

fn write_lanes(path: &Path, upstream: SocketAddr, models: &[String]) -> Result<()> {
    let models: Vec<String> = models.iter().map(|model| format!("{{ name = \"{model}\" }}")).collect();
    let mut file = std::fs::File::create(path)?;
    writeln!(file, "[[lane]]\nname = \"load\"\nbase_url = \"http://{upstream}/v1\"\nslots = 1000")?;
    writeln!(file, "models = [{}]", models.join(", "))?;
    Ok(())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
