//! `make cluster`: two nodes with a private Postgres and Redis on this machine, by the code that the tests use.
//!
//! Prints where they are and the ids of all processes, so that one can kill some and see what happens. Everything ends
//! with it, and nothing is kept.

use anyhow::Result;
use promptroom_tests::ClusterSettings;
use tokio::signal::unix::{SignalKind, signal};

const NODES: usize = 2;

#[tokio::main]
async fn main() -> Result<()> {
    let nodes = std::env::args().nth(1).map_or(Ok(NODES), |number| number.parse())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let cluster = tokio::select! {
        cluster = ClusterSettings::default().start(nodes) => cluster?,
        interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        _ = terminated.recv() => return Ok(()),
    };
    println!("Sign in as the owner, once, with this link: {}", cluster.node(0).server.link()?);
    for (number, node) in cluster.nodes().iter().enumerate() {
        println!("Node {}: {} (process {})", number + 1, node.server.http(), node.server.pid()?);
    }
    println!("Postgres: {}", cluster.postgres.url());
    println!("Redis: {}", cluster.redis.url());
    println!("The session that one signs in to is good on all nodes. Ctrl+C ends everything.");
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    }
}
