//! Several nodes with a Postgres and a Redis of their own, and a line that can fail between any two of them.

use crate::{Api, Build, FaultProxy, Postgres, Redis, Server, ServerSettings, Sql, last_lines};
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use promptroom_protocol::Role;
use std::fmt::Write;

/// The same on all nodes, so that each can read what another has sealed.
const SECRET_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const ACCOUNT_LINES: usize = 30;

/// What a test wants to be different from two nodes with the defaults.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    server: ServerSettings,
}

impl ClusterSettings {
    /// A variable for all nodes.
    pub fn environment(self, name: &str, value: impl ToString) -> Self {
        ClusterSettings { server: self.server.environment(name, value) }
    }

    /// The content of the lanes file of all nodes.
    pub fn lanes(self, toml: &str) -> Self {
        ClusterSettings { server: self.server.lanes(toml) }
    }

    /// All nodes are started as this build.
    pub fn build(self, build: Build) -> Self {
        ClusterSettings { server: self.server.build(build) }
    }

    /// The wall clock of each node can be moved.
    pub fn movable_clocks(self) -> Result<Self> {
        Ok(ClusterSettings { server: self.server.movable_clock()? })
    }

    pub async fn start(self, nodes: usize) -> Result<Cluster> {
        let (postgres, redis) = tokio::try_join!(Postgres::start(), Redis::start())?;
        let mut cluster = Cluster { nodes: Vec::new(), redis, postgres };
        // The first one brings the schema, so that the others start at once.
        cluster.nodes.push(cluster.new_node(&self.server).await?);
        let others = try_join_all((1..nodes).map(|_| cluster.new_node(&self.server))).await?;
        cluster.nodes.extend(others);
        Ok(cluster)
    }
}

/// Nodes are numbered from 0. All processes end when it is dropped, the nodes first.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    pub redis: Redis,
    pub postgres: Postgres,
}

/// One node and its lines.
#[derive(Debug)]
pub struct Node {
    pub server: Server,
    /// Between people and the node.
    pub door: FaultProxy,
    /// Between the node and Postgres.
    pub to_postgres: FaultProxy,
    /// Between the node and Redis.
    pub to_redis: FaultProxy,
}

impl Cluster {
    /// With the defaults and nothing in it.
    pub async fn of(nodes: usize) -> Result<Cluster> {
        ClusterSettings::default().start(nodes).await
    }

    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where people connect to a node, through its door: `ws://…`.
    pub fn ws(&self, number: usize) -> String {
        self.nodes[number].door.ws()
    }

    /// The doors of all nodes.
    pub fn doors(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.door.ws()).collect()
    }

    /// A new API token, good on all nodes.
    pub fn token(&self, role: Role) -> Result<String> {
        self.nodes.first().context("a cluster has a node")?.server.token(role)
    }

    /// The HTTP API of one node, through its door.
    pub fn api(&self, number: usize, token: &str) -> Api {
        Api::new(self.nodes[number].door.http(), token.to_owned())
    }

    /// What somebody needs who wants to know why a test failed: the last lines of all nodes, and what is not over.
    pub fn account(&self) -> String {
        let mut text = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "--- node {number}\n{}", last_lines(&node.server.log(), ACCOUNT_LINES));
        }
        for statement in [
            "SELECT id, node_id, epoch, stored, state, admitted_at_ms, moved_at_ms FROM runs WHERE ended_at_ms IS NULL",
            "SELECT run_id, node_id, epoch, admitted_at_ms FROM run_attempts WHERE settled_at_ms IS NULL",
            "SELECT * FROM nodes",
        ] {
            let rows =
                self.sql().rows(statement).map_or_else(|error| format!("{error:#}"), |rows| lines(&rows));
            let _ = writeln!(text, "--- {statement}\n{rows}");
        }
        text
    }

    pub fn sql(&self) -> Sql {
        Sql::at(self.postgres.url())
    }

    async fn new_node(&self, settings: &ServerSettings) -> Result<Node> {
        let to_postgres = FaultProxy::before(self.postgres.address()).await?;
        let to_redis = FaultProxy::before(self.redis.address()).await?;
        let through = |url: &str, address: String, proxy: &FaultProxy| {
            url.replace(&address, &proxy.address().to_string())
        };
        let database = through(&self.postgres.url(), self.postgres.address().to_string(), &to_postgres);
        let redis = through(&self.redis.url(), self.redis.address().to_string(), &to_redis);
        let settings = settings
            .clone()
            .environment("PROMPTROOM_DATABASE_URL", database)
            .environment("PROMPTROOM_REDIS_URL", redis)
            .environment("PROMPTROOM_SECRET_KEY", SECRET_KEY);
        let server = settings.start().await?;
        let door = FaultProxy::before(server.address()).await?;
        Ok(Node { server, door, to_postgres, to_redis })
    }
}

fn lines(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n")
}
