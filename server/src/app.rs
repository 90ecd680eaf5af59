//! The composition root: which parts there are, in which order they start and stop.

use crate::config::{ConfigError, Options};
use crate::edge::{
    auth::{LINK, TOKEN, new_secret},
    serve::serve,
    signin::SignInLimiter,
    state::{App, Settings},
};
use crate::live::{
    authority::Authority, checkpoint::Checkpoint, clock::now_ms, heads::Heads, hub::Hub, keeper::Keeper,
    reaper::Reaper, runs::Runs, tasks::Tasks,
};
use crate::model::Models;
use crate::store::{LinkFor, NewPrincipal, NodeId, PrincipalKind, Store, StoreError};
use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use promptroom_protocol::{MemberId, Role};
use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

const LINK_LIFE_MS: u64 = 24 * 3_600 * 1_000;
const SOCKETS_LEAVE_WITHIN: Duration = Duration::from_secs(2);
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(10);
const RUNS_LOOK: Duration = Duration::from_millis(50);

/// Opens the database that the options name, at this version's schema.
pub async fn open_store(options: &Options) -> anyhow::Result<Store> {
    if options.redis_url.is_some() {
        return Err(ConfigError(
            "PROMPTROOM_REDIS_URL is set, but this version runs as a single node".to_owned(),
        )
        .into());
    }
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
    let models = Arc::new(Models::open(options.models()?)?);
    // Before the schema is touched: another server may be using it.
    let _lock = lock_database(&options)?;
    let store = Arc::new(open_store(&options).await?);
    options.secret_key()?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let public_url = options.public_url(listener.local_addr()?)?;
    let (app, taken_over) = compose(&options, &public_url, store, models, metrics);
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
    drain(&app, Duration::from_secs(options.drain_s)).await;
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

fn compose(
    options: &Options,
    public_url: &str,
    store: Arc<Store>,
    models: Arc<Models>,
    metrics: PrometheusHandle,
) -> (App, oneshot::Receiver<()>) {
    let tasks = Tasks::default();
    let rights_bell = Arc::new(Notify::new());
    let node = NodeId(Uuid::now_v7());
    let keeper = Keeper::start(store.clone(), rights_bell.clone(), &tasks);
    let checkpoint = Checkpoint::start(store.clone(), &tasks);
    let runs =
        Runs::new(store.clone(), models.clone(), checkpoint, options.bounds.gate(), node, tasks.clone());
    let hub = Hub::new(
        store.clone(),
        keeper,
        runs.clone(),
        tasks.clone(),
        options.bounds.room(),
        options.bounds.rooms,
    );
    let authority = Authority::start(store.clone(), hub.clone(), rights_bell.clone(), &tasks);
    let taken_over = Reaper::start(store.clone(), runs.clone(), &tasks);
    let settings = Settings {
        public_url: public_url.to_owned(),
        limits: options.bounds.told(),
        frames_per_s: options.bounds.frames_per_s,
        connections: options.bounds.connections,
        default_model: options.default_model.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let app = App {
        heads: Heads::new(store.clone()),
        store,
        hub,
        runs,
        models,
        authority,
        rights_bell,
        tasks,
        settings: Arc::new(settings),
        metrics,
        next_socket: Arc::new(AtomicU64::new(1)),
        sockets: Arc::new(AtomicUsize::new(0)),
        sign_ins: Arc::new(SignInLimiter::default()),
    };
    (app, taken_over)
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

/// Two servers on one file would each believe that the other's runs are dead; the lock dies with its holder.
fn lock_database(options: &Options) -> anyhow::Result<File> {
    let url = options.database_url();
    let path = database_file(&url)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let lock = path.with_added_extension("lock");
    let file = File::create(&lock).with_context(|| format!("{} cannot be made", lock.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another promptroom serves from {}", path.display()))?;
    Ok(file)
}

/// Where it really is, so that two names of one file have one lock.
fn database_file(url: &str) -> Result<PathBuf, StoreError> {
    let path = Store::file(url)?;
    Ok(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
}

async fn until_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// No new work; sockets leave; runs end or are left for the next start; what is in memory is written.
async fn drain(app: &App, runs_limit: Duration) {
    tracing::info!(runs = app.runs.going(), "draining");
    app.tasks.drain();
    app.hub.send_away(SOCKETS_LEAVE_WITHIN).await;
    let until = Instant::now() + runs_limit;
    while app.runs.going() > 0 && Instant::now() < until {
        tokio::select! {
            () = sleep(RUNS_LOOK) => {}
            again = until_signal() => {
                tracing::info!(seen = again.is_ok(), "told again; not waiting for runs");
                break;
            }
        }
    }
    app.hub.end(WRITE_LIMIT).await;
    app.tasks.stop();
    if timeout(END_LIMIT, app.tasks.ended()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_lies_beside_the_database_however_it_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().canonicalize().expect("a path").join("p.db");
        std::fs::write(&file, "").expect("a file");
        std::os::unix::fs::symlink(&file, folder.path().join("other.db")).expect("a link");
        for name in ["sqlite://{}/p.db", "sqlite:{}/p.db", "sqlite://{}/./other.db"] {
            let url = name.replace("{}", &folder.path().display().to_string());
            assert_eq!(database_file(&url).expect("a path"), file, "{url}");
        }
        assert!(database_file("postgres://somewhere").is_err());
    }
}
