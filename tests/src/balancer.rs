//! The balancer of `docker-compose.cluster.yml`, with the configuration that stands there, before nodes on this machine.

use crate::{last_lines, redis::free_address, until};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const COMPOSE: &str = "docker-compose.cluster.yml";

/// An HAProxy of the test's own; gone when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    home: TempDir,
    process: Child,
}

impl Balancer {
    /// Before as many nodes as the file names.
    pub async fn before(nodes: &[SocketAddr]) -> Result<Balancer> {
        let address = free_address()?;
        let home = tempfile::Builder::new().prefix("promptroom-balancer-").tempdir()?;
        let file = home.path().join("haproxy.cfg");
        fs::write(&file, configuration(address, nodes)?)?;
        let log = File::create(home.path().join("haproxy.log"))?;
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().context("haproxy cannot be started: is it installed?")?;
        let mut balancer = Balancer { address, home, process };
        until("the balancer to listen", async || {
            if let Some(status) = balancer.process.try_wait()? {
                bail!("the balancer ended with {status}: {}", last_lines(&balancer.log(), 20));
            }
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })
        .await?;
        Ok(balancer)
    }

    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("haproxy.log")).unwrap_or_default()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What stands in the file, with nothing changed but where it listens, where the nodes are, and how many may come.
fn configuration(address: SocketAddr, nodes: &[SocketAddr]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the repository")?;
    let compose = fs::read_to_string(root.join(COMPOSE))?;
    let lines = compose.lines().skip_while(|line| line.trim() != "content: |").skip(1);
    let indent = "      ";
    let block: Vec<&str> = lines
        .take_while(|line| line.is_empty() || line.starts_with(indent))
        .map(|line| line.strip_prefix(indent).unwrap_or_default())
        .collect();
    let mut text = block.join("\n") + "\n";
    ensure!(text.contains("bind :8080\n"), "{COMPOSE} has no balancer any more, or another port: {text}");
    text = text.replace("bind :8080\n", &format!("bind {address}\n"));
    // The container may open more files than a machine gives to a test.
    text = text.replace("maxconn 50000\n", "maxconn 1000\n");
    for (number, node) in (1..).zip(nodes) {
        let named = format!("node{number}:8080");
        ensure!(text.contains(&named), "{COMPOSE} has no {named}");
        text = text.replace(&named, &node.to_string());
    }
    ensure!(!text.contains(":8080"), "{COMPOSE} has other nodes than {nodes:?}: {text}");
    Ok(text)
}
