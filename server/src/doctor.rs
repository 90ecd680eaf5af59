//! `promptroom doctor`: what is configured, whether it works, and what to do where it does not.

use crate::{app, bus::Redis, config::Options, model::Models};
use anyhow::bail;
use std::{fmt::Display, time::Duration};
use tokio::{net::TcpListener, time::timeout};

const PROVIDER_LIMIT: Duration = Duration::from_secs(10);

/// Checks everything, says what it found, and fails if something is wrong.
pub async fn examine(options: &Options) -> anyhow::Result<()> {
    let mut wrong = 0;
    wrong += say("bounds", options.bounds.check().map(|()| "fit together"));
    wrong += say("public URL", options.public_url(options.listen));
    let store = app::open_store(options).await;
    wrong += match &store {
        Ok(store) => say("database", store.ping().await.map(|()| options.database_url_shown())),
        Err(error) => say("database", Err::<&str, _>(format!("{error:#}"))),
    };
    if store.is_ok() {
        wrong += say("secret key", options.secret_key().map(|_| "readable"));
    }
    if let Some(url) = &options.redis_url {
        wrong += say("redis", Redis::check(url).await.map(|version| format!("Redis {version} answers")));
    }
    wrong += match TcpListener::bind(options.listen).await {
        Ok(_) => say("address", Ok::<_, String>(format!("{} is free", options.listen))),
        Err(error) => {
            say("address", Err::<&str, _>(format!("{}: {error} (is it running already?)", options.listen)))
        }
    };
    wrong += lanes(options).await;
    if wrong > 0 {
        bail!("{wrong} of the checks above failed");
    }
    Ok(())
}

async fn lanes(options: &Options) -> u32 {
    let models = match options.models().map_err(|error| error.to_string()) {
        Ok(config) => Models::open(config).map_err(|problem| problem.to_string()),
        Err(error) => Err(error),
    };
    let models = match models {
        Ok(models) => models,
        Err(error) => return say("lanes", Err::<&str, _>(error)),
    };
    let mut wrong = 0;
    for lane in models.lanes() {
        let found = match timeout(PROVIDER_LIMIT, models.probe(lane)).await {
            Ok(Ok(count)) => Ok(format!("{count} models, {} runs at once", lane.slots)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("does not answer".to_owned()),
        };
        wrong += say(&format!("lane {}", lane.name), found);
    }
    wrong
}

#[allow(clippy::print_stdout, reason = "what a person asked for at the terminal")]
fn say<T: Display, E: Display>(what: &str, found: Result<T, E>) -> u32 {
    match found {
        Ok(detail) => {
            println!("ok     {what}: {detail}");
            0
        }
        Err(error) => {
            println!("WRONG  {what}: {error}");
            1
        }
    }
}
