//! Which parts there are, and who is given whom. The only file that names concrete adapters.

use crate::bus::{self, Bus, Local, Redis};
use crate::config::{ConfigError, Options};
use crate::domain::gate::GateLimits;
use crate::edge::{
    signin::SignInLimiter,
    state::{App, Settings},
};
use crate::live::{
    authority::Authority,
    checkpoint::Checkpoint,
    clock::new_id,
    ears::Ears,
    heads::Heads,
    hub::{Hub, HubParts},
    keeper::Keeper,
    poll::Poll,
    reaper::Reaper,
    room::RoomLimits,
    runs::{Runs, RunsParts},
    tasks::Tasks,
    upkeep::SnapshotPace,
};
use crate::model::Models;
use crate::store::{NodeId, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize},
};
use tokio::sync::{Notify, oneshot};

/// What the parts are made from.
pub(super) struct Given<'a> {
    pub options: &'a Options,
    pub public_url: &'a str,
    pub store: Arc<Store>,
    pub models: Arc<Models>,
    pub metrics: PrometheusHandle,
}

/// What a node is put together from, whatever its database, its bus and its models are.
pub(crate) struct Parts {
    pub store: Arc<Store>,
    pub models: Arc<Models>,
    pub bus: Bus,
    pub ears: bus::Ears,
    pub node: NodeId,
    /// Whether nobody else uses the database.
    pub alone: bool,
    pub gate: GateLimits,
    pub room: RoomLimits,
    pub snapshots: SnapshotPace,
    pub rooms_max: usize,
    pub settings: Settings,
    pub metrics: PrometheusHandle,
    pub tasks: Tasks,
}

/// A node that runs, and when the runs that nobody drives are taken over.
pub(super) async fn compose(given: Given<'_>) -> anyhow::Result<(App, oneshot::Receiver<()>)> {
    let Given { options, public_url, store, models, metrics } = given;
    let tasks = Tasks::default();
    let node = NodeId(new_id());
    let (bus, ears) = join_others(options, &store, node, &tasks).await?;
    let settings = Settings {
        public_url: public_url.to_owned(),
        limits: options.bounds.told(),
        frames_per_s: options.bounds.frames_per_s,
        trusted_proxies: options.trusted_proxies()?,
        connections: options.bounds.connections,
        default_model: options.default_model.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(assemble(Parts {
        store,
        models,
        bus,
        ears,
        node,
        alone: !options.is_shared(),
        gate: options.bounds.gate(),
        room: options.bounds.room(),
        snapshots: SnapshotPace::default(),
        rooms_max: options.bounds.rooms,
        settings,
        metrics,
        tasks,
    }))
}

/// Starts the tasks of a node.
pub(crate) fn assemble(parts: Parts) -> (App, oneshot::Receiver<()>) {
    let Parts {
        store,
        models,
        bus,
        ears,
        node,
        alone,
        gate,
        room,
        snapshots,
        rooms_max,
        settings,
        metrics,
        tasks,
    } = parts;
    let rights_bell = Arc::new(Notify::new());
    let keeper = Keeper::start(store.clone(), bus.clone(), rights_bell.clone(), &tasks);
    let checkpoint = Checkpoint::start(store.clone(), &tasks);
    let runs = Runs::new(RunsParts {
        store: store.clone(),
        models: models.clone(),
        checkpoint,
        bus: bus.clone(),
        limits: gate,
        node,
        alone,
        tasks: tasks.clone(),
    });
    let hub = Hub::new(HubParts {
        store: store.clone(),
        keeper,
        runs: runs.clone(),
        bus: bus.clone(),
        tasks: tasks.clone(),
        limits: room,
        rooms_max,
        shared: !alone,
    });
    let authority = Authority::new(store.clone(), hub.clone(), bus.clone());
    Poll::start(store.clone(), hub.clone(), authority.clone(), rights_bell.clone(), &tasks);
    Ears::start(bus, ears, hub.clone(), runs.clone(), rights_bell.clone(), &tasks);
    let taken_over = Reaper::start(store.clone(), runs.clone(), snapshots, &tasks);
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

/// The bus to other nodes; without Redis they follow each other through the database alone.
async fn join_others(
    options: &Options,
    store: &Store,
    node: NodeId,
    tasks: &Tasks,
) -> anyhow::Result<(Bus, bus::Ears)> {
    let Some(url) = &options.redis_url else {
        let (local, ears) = Local::alone();
        return Ok((Bus::Local(local), ears));
    };
    let workspace = store.workspace().await?;
    let started = Redis::start(url, workspace.id.0, node.0);
    let (redis, ears, upkeep) =
        started.map_err(|problem| ConfigError(format!("PROMPTROOM_REDIS_URL: {problem}")))?;
    let stopped = tasks.clone();
    tasks.spawn_vital("bus to other nodes", async move { upkeep.run(stopped.stopped()).await });
    Ok((Bus::Redis(redis), ears))
}
