//! A trial before the server relies on it: can Redis be reached, and may we publish and subscribe?

use super::{
    address::Address,
    link::{Letter, Link, Push},
};
use redis::{ErrorKind, PushInfo, PushKind, RedisError};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

const CHANNEL: &str = "promptroom:trial";
const TRIAL_LIMIT: Duration = Duration::from_secs(5);

struct Trial;

impl Letter for Trial {
    fn channel(&self) -> &str {
        CHANNEL
    }

    fn bytes(&self) -> &[u8] {
        b"trial"
    }
}

/// Its version; or what is wrong, in words for whoever runs the server.
pub(super) async fn check(url: &str) -> Result<String, String> {
    let address = Address::parse(url).map_err(|bad| bad.to_string())?;
    match timeout(TRIAL_LIMIT, run_trial(&address)).await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(error)) => Err(in_plain_words(&error)),
        Err(_) => Err("Redis does not bring back what is published on it".to_owned()),
    }
}

async fn run_trial(address: &Address) -> Result<String, RedisError> {
    let heard = Arc::new(Notify::new());
    let ring = heard.clone();
    let push: Push = Arc::new(move |push: PushInfo| -> Result<(), Infallible> {
        if matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            ring.notify_one();
        }
        Ok(())
    });
    let mut link = Link::open(address, Some(push)).await?;
    link.subscribe(&[CHANNEL.to_owned()]).await?;
    link.publish(&[Trial]).await?;
    heard.notified().await;
    // Only said where it may be asked.
    let about = link.about().await.unwrap_or_default();
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let version = version.unwrap_or("of an unknown version").trim();
    Ok(match link {
        Link::Single(_) => version.to_owned(),
        Link::Sharded(_) => format!("{version}, a cluster"),
    })
}

fn in_plain_words(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            "Redis refuses the user or the password of its address".to_owned()
        }
        (ErrorKind::RESP3NotSupported, _) => "Redis is too old: version 6 is the least, 7 for a cluster".to_owned(),
        (_, Some("NOPERM")) => {
            "the user may not publish and subscribe: allow it SUBSCRIBE, UNSUBSCRIBE, PUBLISH (in a cluster SSUBSCRIBE, \
             SUNSUBSCRIBE, SPUBLISH), PING and the channels promptroom:*"
                .to_owned()
        }
        _ if error.is_timeout() => "Redis does not answer in time".to_owned(),
        _ => format!("Redis cannot be used: {error}"),
    }
}
