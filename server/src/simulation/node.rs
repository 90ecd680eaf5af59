//! One node, put together by `app` itself, except that its store, its bus, its models and its sockets are the simulation's.

use super::{
    bus_faults::Network,
    history::History,
    scheduler::{Home, Scheduler},
    upstream::{Provider, Reached},
};
use crate::app::parts::{Parts, assemble};
use crate::bus::{Bus, Local};
use crate::domain::{gate::GateLimits, log::LogLimits, refusal::Refusal, rights::rights};
use crate::edge::{
    admission::Ticket,
    session,
    socket::Socket,
    state::{App, Settings},
};
use crate::live::{clock, room::RoomLimits, runs::unavailable, tasks::Tasks, upkeep::SnapshotPace};
use crate::model::{CancelBehaviour, LaneInfo, Models, PrefillStyle};
use crate::store::{NodeId, Store};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use promptroom_protocol::{Limits, MemberId, Person, PromptId, RequestId};
use std::{cell::OnceCell, sync::Arc};

/// What the nodes have in common.
#[derive(Clone)]
pub struct Surroundings {
    pub scheduler: Scheduler,
    pub history: Arc<History>,
    pub network: Network,
    pub provider: Arc<Provider>,
    /// There is one node, which has the database for itself.
    pub alone: bool,
    pub paces: Paces,
}

/// How often the nodes do what they do now and then.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// Between two looks at a room, which lets it rest.
    pub look_ms: u64,
    /// A room that nobody is in goes after so long.
    pub idle_ms: u64,
    pub snapshots: SnapshotPace,
}

/// One life of a node that has begun.
pub struct Started {
    pub app: App,
    pub bus: Arc<Local>,
    /// As the database knows it.
    pub id: NodeId,
}

thread_local! {
    static METRICS: OnceCell<PrometheusHandle> = const { OnceCell::new() };
}

/// Starts a node; `bus` is any other's end of the bus, dead or alive.
pub fn start(around: &Surroundings, home: Home, store: Store, bus: Option<&Arc<Local>>) -> Started {
    let (local, ears) = bus.map_or_else(Local::alone, |other| other.join());
    local.carried_by(around.network.carrier(&around.scheduler, &around.history));
    let id = NodeId(clock::new_id());
    let upstream = Arc::new(Reached { provider: around.provider.clone() });
    let (app, _taken_over) = assemble(Parts {
        store: Arc::new(store),
        models: Arc::new(Models::scripted(lanes(), upstream)),
        bus: Bus::Local(local.clone()),
        ears,
        node: id,
        alone: around.alone,
        gate: GateLimits::default(),
        room: room_limits(around.paces),
        snapshots: around.paces.snapshots,
        rooms_max: 16,
        settings: settings(),
        metrics: METRICS.with(|metrics| {
            metrics.get_or_init(|| PrometheusBuilder::new().build_recorder().handle()).clone()
        }),
        tasks: Tasks::governed(around.scheduler.governor(home)),
    });
    Started { app, bus: local, id }
}

/// Leads a socket in as `admission` does, for somebody who is known already.
pub async fn arrive(app: App, socket: Socket, who: MemberId, prompt: PromptId) {
    let request_id = RequestId(clock::new_id());
    let seated = match ticket(&app, who, prompt, request_id).await {
        Ok(ticket) => session::live(Box::pin(session::enter(app, socket, ticket))),
        Err(refusal) => return socket.close(&refusal, request_id, true).await,
    };
    seated.await;
}

async fn ticket(
    app: &App,
    who: MemberId,
    prompt: PromptId,
    request_id: RequestId,
) -> Result<Ticket, Refusal> {
    if app.tasks.is_draining() {
        return Err(Refusal::Draining);
    }
    let rights_epoch = app.store.workspace().await.map_err(unavailable)?.rights_epoch;
    let principal = app.store.principal(who).await.map_err(unavailable)?.ok_or(Refusal::SignInNeeded)?;
    let row = app.store.prompt(prompt).await.map_err(unavailable)?.ok_or(Refusal::PromptNotFound)?;
    let rights = rights(who, principal.role, row.owner.id, row.visibility).ok_or(Refusal::PromptNotFound)?;
    let person = Person { id: who, name: principal.name, role: principal.role, client: None };
    Ok(Ticket {
        prompt,
        slug: row.slug,
        person,
        rights,
        rights_epoch,
        session: None,
        versioned: true,
        request_id,
    })
}

/// One provider stops when its caller hangs up, the other writes on and bills all of it.
fn lanes() -> Vec<LaneInfo> {
    let lane = |name: &str, cancel| LaneInfo {
        name: name.to_owned(),
        provider: "Simulated".to_owned(),
        slots: 2,
        cancel,
        prefill: PrefillStyle::AssistantMessage,
    };
    vec![lane("stops", CancelBehaviour::Stops), lane("runs-on", CancelBehaviour::RunsOn)]
}

fn room_limits(paces: Paces) -> RoomLimits {
    RoomLimits {
        log: LogLimits { entries: 24, bytes: 1 << 20, unwritten_bytes: 1 << 16 },
        members: 16,
        document_bytes: 1 << 20,
        awareness_bytes: 1 << 12,
        idle_ms: paces.idle_ms,
        look_ms: paces.look_ms,
    }
}

fn settings() -> Settings {
    Settings {
        public_url: "http://simulated".to_owned(),
        limits: Limits {
            message_bytes: 1 << 20,
            document_bytes: 1 << 20,
            awareness_bytes: 1 << 12,
            watched_runs: 8,
        },
        frames_per_s: 10_000,
        trusted_proxies: Vec::new(),
        connections: 100,
        default_model: "stops/markdown".to_owned(),
        version: "simulated",
    }
}
