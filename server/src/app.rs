//! What the program does, from its start to its end. The parts of a node are put together in `app/parts.rs`.

mod files;
mod lock;
pub(crate) mod parts;
pub(crate) mod stopping;

use crate::config::{ConfigError, Options};
use crate::edge::{
    auth::{LINK, TOKEN, new_secret},
    serve::serve,
    state::App,
};
use crate::live::clock::now_ms;
use crate::model::Models;
use crate::store::{LinkFor, NewPrincipal, PrincipalKind, Store, StoreError};
use anyhow::Context as _;
pub use lock::lock_if_file;
use metrics_exporter_prometheus::PrometheusHandle;
use parts::{Given, compose};
use promptroom_protocol::{MemberId, Role};
use std::{sync::Arc, time::Duration};
use stopping::{drain, until_signal};
use tokio::{net::TcpListener, time::timeout};
use uuid::Uuid;

const LINK_LIFE_MS: u64 = 24 * 3_600 * 1_000;
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(10);

/// Opens the database that the options name, at this version's schema.
pub async fn open_store(options: &Options) -> anyhow::Result<Store> {
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("the data directory {} cannot be made", options.data_dir.display()))?;
    let store = Store::open(&options.database_url()).await.context("the database cannot be opened")?;
    store.migrate().await.context("the database cannot be brought to this version's schema")?;
    Ok(store)
}

/// A new link that signs in as the owner, once.
pub async fn owner_link(store: &Store, public_url: &str) -> Result<String, StoreError> {
    let (secret, hash) = new_secret(LINK);
    store.add_sign_in_link(hash, LinkFor::Owner, now_ms() + LINK_LIFE_MS).await?;
    Ok(format!("{public_url}/link/{secret}"))
}

pub async fn create_token(store: &Store, name: String, role: Role) -> Result<String, StoreError> {
    let (secret, hash) = new_secret(TOKEN);
    let id = MemberId(Uuid::now_v7());
    let principal =
        NewPrincipal { id, kind: PrincipalKind::Token, name, role, token: Some(hash), now_ms: now_ms() };
    store.add_principal(&principal).await?;
    Ok(secret)
}

/// Serves until a signal, then drains.
pub async fn run(options: Options, metrics: PrometheusHandle) -> anyhow::Result<()> {
    options.bounds.check()?;
    if options.redis_url.is_some() && !options.is_shared() {
        return Err(ConfigError(
            "PROMPTROOM_REDIS_URL joins several nodes on one Postgres; with SQLite there is a single node"
                .to_owned(),
        )
        .into());
    }
    files::allow_open_files(options.bounds.connections);
    let models = Arc::new(Models::open(options.models()?)?);
    // Before the schema is touched: another server may be using it.
    let _lock = lock_if_file(&options.database_url())?;
    let store = Arc::new(open_store(&options).await?);
    options.secret_key()?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let public_url = options.public_url(listener.local_addr()?)?;
    let given = Given { options: &options, public_url: &public_url, store, models, metrics };
    let (app, taken_over) = compose(given).await?;
    // Nobody sees a run between two drivers, unless the store is away just now.
    if timeout(TAKE_OVER_LIMIT, taken_over).await.is_err() {
        tracing::warn!("serving before the runs of the last life are taken over");
    }
    greet(&app).await?;
    let serving = app.tasks.spawn(serve(listener, app.clone()));
    tokio::select! {
        told = until_signal() => told?,
        part = app.tasks.failed() => return Err(broken_down(part)),
    }
    let again = async { drop(until_signal().await) };
    drain(&app, Duration::from_secs(options.drain_s), again).await;
    if timeout(END_LIMIT, serving).await.is_err() {
        tracing::warn!("the listener did not end in time");
    }
    app.store.close().await;
    app.tasks.failed_part().map_or(Ok(()), |part| Err(broken_down(part)))
}

fn broken_down(part: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the {part} broke down; start the server again. What was shown as saved is in the database"
    )
}

/// Tells whoever started it where it is, and lets them in if nobody is in yet.
#[allow(clippy::print_stdout, reason = "this is for the person at the terminal")]
async fn greet(app: &App) -> anyhow::Result<()> {
    println!("Promptroom is at {}", app.settings.public_url);
    let people = app.store.principals().await?;
    if people.iter().any(|principal| principal.kind == PrincipalKind::Person) {
        println!("To sign in anew, print a link with: promptroom link");
    } else {
        println!(
            "Sign in as the owner, once, with this link: {}",
            owner_link(&app.store, &app.settings.public_url).await?
        );
    }
    Ok(())
}
