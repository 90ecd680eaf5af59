//! What every handler may reach.

use crate::live::{authority::Authority, heads::Heads, hub::Hub, runs::Runs, tasks::Tasks};
use crate::model::Models;
use crate::store::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use promptroom_protocol::Limits;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize},
};
use tokio::sync::Notify;

/// Cheap to clone: everything inside is shared.
#[derive(Clone)]
pub struct App {
    pub store: Arc<Store>,
    pub hub: Arc<Hub>,
    pub runs: Arc<Runs>,
    pub heads: Arc<Heads>,
    pub models: Arc<Models>,
    pub authority: Arc<Authority>,
    /// Rung after a change of somebody's rights.
    pub rights_bell: Arc<Notify>,
    pub tasks: Tasks,
    pub settings: Arc<Settings>,
    pub metrics: PrometheusHandle,
    pub next_socket: Arc<AtomicU64>,
    /// Sockets open now.
    pub sockets: Arc<AtomicUsize>,
    pub sign_ins: Arc<crate::edge::signin::SignInLimiter>,
}

/// The part of the configuration that concerns the edge.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As people see it: `https://prompts.example.com`, without a slash at its end.
    pub public_url: String,
    /// Told to clients; kept to by us.
    pub limits: Limits,
    /// Document and awareness frames a second that a socket may send before reading pauses.
    pub frames_per_s: u32,
    /// Whose word counts on whom they speak for.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub connections: usize,
    /// `lane/model` that a new prompt starts with.
    pub default_model: String,
    pub version: &'static str,
}
