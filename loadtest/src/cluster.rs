//! Equal nodes on one Postgres and one Redis, all on the measured side's core.

use crate::{
    process::Account,
    services::{Postgres, Redis},
    subject::{Subject, SubjectOptions},
    target::Target,
};
use anyhow::Result;
use std::net::SocketAddr;

/// The same on all nodes.
const SECRET_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Ends when it is dropped, the nodes first.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Subject>,
    pub postgres: Postgres,
    pub redis: Redis,
}

impl Cluster {
    pub async fn start(
        options: &SubjectOptions,
        upstream: SocketAddr,
        models: &[String],
        nodes: usize,
    ) -> Result<Cluster> {
        let postgres = Postgres::start(&options.scratch).await?;
        let redis = Redis::start().await?;
        let mut options = options.clone();
        for (name, value) in [
            ("PROMPTROOM_DATABASE_URL", postgres.url()),
            ("PROMPTROOM_REDIS_URL", redis.url()),
            ("PROMPTROOM_SECRET_KEY", SECRET_KEY.to_owned()),
        ] {
            options.variables.push((name.to_owned(), value));
        }
        let mut cluster = Cluster { nodes: Vec::new(), postgres, redis };
        for _ in 0..nodes {
            cluster.nodes.push(Subject::start(&options, upstream, models).await?);
        }
        Ok(cluster)
    }

    /// Members are dealt out to the nodes in turn.
    pub fn target(&self) -> Target {
        let bases = self.nodes.iter().map(Subject::base).collect();
        match self.nodes[0].target() {
            Target::Promptroom { token, members, .. } => Target::Promptroom { bases, token, members },
            other => other,
        }
    }

    /// Postgres, Redis, and the nodes.
    pub fn accounts(&self) -> Vec<Account> {
        let nodes = self.nodes.iter().map(|node| node.process.account());
        [self.postgres.account(), self.redis.account()].into_iter().chain(nodes).collect()
    }
}
