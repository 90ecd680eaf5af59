//! One connection to Redis: to a server, or to a cluster, where topics are spread over the shards.

use super::address::Address;
use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisResult,
    aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// For connecting, and for each answer: whoever takes longer counts as away.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A cluster's nodes are found out one after the other.
const CLUSTER_OPEN_LIMIT: Duration = Duration::from_secs(3);

pub(super) type Push = Arc<dyn AsyncPushSender>;

pub(super) enum Link {
    Single(MultiplexedConnection),
    Sharded(ClusterConnection),
}

/// A note on its way.
pub(super) trait Letter {
    fn channel(&self) -> &str;
    fn bytes(&self) -> &[u8];
}

impl Link {
    /// `push` gets the messages of what is subscribed, and word of the connection's end.
    pub(super) async fn open(address: &Address, push: Option<Push>) -> RedisResult<Link> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        if let Some(push) = push.clone() {
            config = config.set_push_sender(push);
        }
        let client = Client::open(address.info())?;
        let mut single = client.get_multiplexed_async_connection_with_config(&config).await?;
        if !is_cluster(&mut single).await? {
            return Ok(Link::Single(single));
        }
        let mut builder = ClusterClientBuilder::new([address.info()])
            .connection_timeout(ANSWER_LIMIT)
            .response_timeout(ANSWER_LIMIT)
            .overall_response_timeout(Some(ANSWER_LIMIT))
            .tcp_settings(address.info().tcp_settings().clone())
            .retries(1);
        if let Some(push) = push {
            builder = builder.push_sender(push);
        }
        let client = builder.build()?;
        match timeout(CLUSTER_OPEN_LIMIT, client.get_async_connection()).await {
            Ok(connection) => Ok(Link::Sharded(connection?)),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Resolves when the server has confirmed all of them.
    pub(super) async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Link::Single(connection) => connection.subscribe(channels).await,
            Link::Sharded(connection) => {
                let one = |channel| {
                    let mut connection = connection.clone();
                    async move { connection.ssubscribe(channel).await }
                };
                try_join_all(channels.iter().map(one)).await.map(drop)
            }
        }
    }

    pub(super) async fn unsubscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Link::Single(connection) => connection.unsubscribe(channels).await,
            Link::Sharded(connection) => {
                let one = |channel| {
                    let mut connection = connection.clone();
                    async move { connection.sunsubscribe(channel).await }
                };
                try_join_all(channels.iter().map(one)).await.map(drop)
            }
        }
    }

    /// One round trip for all of them, per shard.
    pub(super) async fn publish(&mut self, letters: &[impl Letter]) -> RedisResult<()> {
        match self {
            Link::Single(connection) => {
                let mut pipeline = redis::pipe();
                for letter in letters {
                    pipeline.cmd("PUBLISH").arg(letter.channel()).arg(letter.bytes()).ignore();
                }
                pipeline.query_async(connection).await
            }
            Link::Sharded(connection) => {
                let one = |letter: &_| {
                    let mut connection = connection.clone();
                    let mut publish = redis::cmd("SPUBLISH");
                    publish.arg(Letter::channel(letter)).arg(Letter::bytes(letter));
                    async move { publish.query_async::<()>(&mut connection).await }
                };
                try_join_all(letters.iter().map(one)).await.map(drop)
            }
        }
    }

    /// Asks for a sign of life, of each shard.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        match self {
            Link::Single(connection) => ping(connection).await,
            Link::Sharded(connection) => ping(connection).await,
        }
    }

    /// What the server tells of itself.
    pub(super) async fn about(&mut self) -> RedisResult<String> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        match self {
            Link::Single(connection) => info.query_async(connection).await,
            Link::Sharded(connection) => {
                use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                redis::from_redis_value(connection.route_command(info, any).await?).map_err(Into::into)
            }
        }
    }
}

async fn is_cluster(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let asked: RedisResult<String> = redis::cmd("INFO").arg("cluster").query_async(connection).await;
    match asked {
        Ok(about) => Ok(about.contains("cluster_enabled:1")),
        // Who may not ask takes it for a server; all nodes are told the same.
        Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn ping(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}
