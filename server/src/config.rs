//! The configuration: flags, the environment and the lanes file. Nothing else reads the environment.

use crate::domain::{gate::GateLimits, log::LogLimits};
use crate::live::room::RoomLimits;
use crate::model::{LaneConfig, ModelsConfig, ProviderConfig, Secret, parse_lanes};
use crate::store::Store;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use promptroom_protocol::{Limits, Role};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// A room in which nothing happens is at rest after twice this at most.
const ROOM_LOOK_MS: u64 = 5_000;

/// A collaborative, real-time prompt playground that you host yourself.
#[derive(Debug, Parser)]
#[command(name = "promptroom", version)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the page and the rooms (the default).
    Serve,
    /// Make an API token and print it, once.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Print a new one-time link that signs in as the owner.
    Link,
    /// Bring the database to this version's schema.
    Migrate,
    /// Check the configuration, the database and the providers, and say what is wrong.
    Doctor,
    /// Copy everything from one database into another, empty one, and prove that both hold the same.
    Copy {
        /// `sqlite://path` or `postgres://…`; no server may be using it.
        #[arg(long)]
        from: String,
        /// An empty database of either kind.
        #[arg(long)]
        to: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenAction {
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "editor", value_parser = role)]
        role: Role,
    },
}

#[derive(Debug, Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "PROMPTROOM_LISTEN", default_value = "127.0.0.1:8080", global = true)]
    pub listen: SocketAddr,
    /// `sqlite://path` or `postgres://user:password@host/name`; SQLite under the data directory if absent.
    #[arg(long, env = "PROMPTROOM_DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,
    /// `redis://host`: several nodes on one Postgres hear of each other's changes at once, not within a second.
    #[arg(long, env = "PROMPTROOM_REDIS_URL", hide_env_values = true, global = true)]
    pub redis_url: Option<String>,
    /// Where the database, the secret key and the lock are.
    #[arg(long, env = "PROMPTROOM_DATA_DIR", default_value = "data", global = true)]
    pub data_dir: PathBuf,
    /// The address as people see it, for links and cookies; from `listen` if absent.
    #[arg(long, env = "PROMPTROOM_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// Addresses or networks of balancers, with commas between: their `X-Forwarded-For` says who signs in.
    #[arg(long, env = "PROMPTROOM_TRUSTED_PROXIES", default_value = "", global = true)]
    pub trusted_proxies: String,
    /// 64 hexadecimal digits; made under the data directory if absent.
    #[arg(long, env = "PROMPTROOM_SECRET_KEY", hide_env_values = true, global = true)]
    pub secret_key: Option<String>,
    /// A TOML file of OpenAI-compatible lanes.
    #[arg(long, env = "PROMPTROOM_LANES", global = true)]
    pub lanes: Option<PathBuf>,
    /// Offer the built-in demo models.
    #[arg(long, env = "PROMPTROOM_DEMO", default_value_t = true, action = clap::ArgAction::Set, global = true)]
    pub demo: bool,
    /// Milliseconds between the demo models' tokens instead of their own pace.
    #[arg(long, env = "PROMPTROOM_DEMO_PACE_MS", global = true)]
    pub demo_pace_ms: Option<u64>,
    /// `lane/model` that a new prompt starts with.
    #[arg(long, env = "PROMPTROOM_DEFAULT_MODEL", default_value = "demo/markdown", global = true)]
    pub default_model: String,
    #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true, global = true)]
    pub anthropic_api_key: Option<String>,
    #[arg(long, env = "ANTHROPIC_BASE_URL", global = true)]
    pub anthropic_base_url: Option<String>,
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, global = true)]
    pub openai_api_key: Option<String>,
    #[arg(long, env = "OPENAI_BASE_URL", global = true)]
    pub openai_base_url: Option<String>,
    /// Seconds that a stopping node gives its runs to end by themselves.
    #[arg(long, env = "PROMPTROOM_DRAIN_S", default_value_t = 60, global = true)]
    pub drain_s: u64,
    /// Logs as JSON lines.
    #[arg(long, env = "PROMPTROOM_LOG_JSON", default_value_t = false, action = clap::ArgAction::Set, global = true)]
    pub log_json: bool,
    /// Which logs, in the syntax of `tracing`.
    #[arg(long, env = "PROMPTROOM_LOG", default_value = "info", global = true)]
    pub log: String,
    #[command(flatten)]
    pub bounds: Bounds,
}

/// What one client, room or node may take.
#[derive(Debug, Clone, Copy, Args)]
pub struct Bounds {
    /// Bytes of one WebSocket message.
    #[arg(long, env = "PROMPTROOM_MESSAGE_BYTES", default_value_t = 1 << 20, global = true)]
    pub message_bytes: u64,
    /// Bytes of one document, its history included.
    #[arg(long, env = "PROMPTROOM_DOCUMENT_BYTES", default_value_t = 8 << 20, global = true)]
    pub document_bytes: u64,
    /// Bytes of one member's presence.
    #[arg(long, env = "PROMPTROOM_AWARENESS_BYTES", default_value_t = 4 << 10, global = true)]
    pub awareness_bytes: u64,
    /// Frames a second that one socket may send before its reading is slowed.
    #[arg(long, env = "PROMPTROOM_FRAMES_PER_S", default_value_t = 200, global = true)]
    pub frames_per_s: u32,
    /// Sockets in one room.
    #[arg(long, env = "PROMPTROOM_ROOM_MEMBERS", default_value_t = 1_024, global = true)]
    pub room_members: usize,
    /// Open rooms of this node.
    #[arg(long, env = "PROMPTROOM_ROOMS", default_value_t = 10_000, global = true)]
    pub rooms: usize,
    /// Sockets of this node.
    #[arg(long, env = "PROMPTROOM_CONNECTIONS", default_value_t = 20_000, global = true)]
    pub connections: usize,
    /// Milliseconds that a room without members stays open.
    #[arg(long, env = "PROMPTROOM_ROOM_IDLE_MS", default_value_t = 30_000, global = true)]
    pub room_idle_ms: u64,
    /// Runs that one socket may watch at once.
    #[arg(long, env = "PROMPTROOM_WATCHED_RUNS", default_value_t = 8, global = true)]
    pub watched_runs: u32,
    /// Runs that one member may have going at once.
    #[arg(long, env = "PROMPTROOM_RUNS_PER_MEMBER", default_value_t = 4, global = true)]
    pub runs_per_member: usize,
    /// Runs that may wait for one lane.
    #[arg(long, env = "PROMPTROOM_RUNS_WAITING", default_value_t = 1_000, global = true)]
    pub runs_waiting: usize,
}

/// A configuration that cannot work: one line that says what and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Options {
    pub fn database_url(&self) -> String {
        let path = || format!("sqlite://{}", self.data_dir.join("promptroom.db").display());
        self.database_url.clone().unwrap_or_else(path)
    }

    /// Whether other nodes may use the same database.
    pub fn is_shared(&self) -> bool {
        Store::is_shared(&self.database_url())
    }

    /// The database's address without credentials, for people.
    pub fn database_url_shown(&self) -> String {
        let url = self.database_url();
        match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, place)) => format!("{scheme}://{place}"),
            None => url,
        }
    }

    /// Where people open the page; `port` is the one really listened on.
    pub fn public_url(&self, listening: SocketAddr) -> Result<String, ConfigError> {
        let Some(url) = &self.public_url else {
            let host = if listening.ip().is_unspecified() {
                "127.0.0.1".to_owned()
            } else {
                listening.ip().to_string()
            };
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            return Ok(format!("http://{host}:{}", listening.port()));
        };
        let url = url.trim_end_matches('/');
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match rest {
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(url.to_owned()),
            _ => Err(ConfigError(format!(
                "PROMPTROOM_PUBLIC_URL must be http(s)://host[:port] without a path, not {url:?}"
            ))),
        }
    }

    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, ConfigError> {
        let parts = self.trusted_proxies.split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(network).collect()
    }

    pub fn models(&self) -> Result<ModelsConfig, ConfigError> {
        Ok(ModelsConfig {
            demo: self.demo,
            demo_pace_ms: self.demo_pace_ms,
            anthropic: provider(self.anthropic_api_key.as_ref(), self.anthropic_base_url.as_ref()),
            openai: provider(self.openai_api_key.as_ref(), self.openai_base_url.as_ref()),
            lanes: self.read_lanes()?,
        })
    }

    fn read_lanes(&self) -> Result<Vec<LaneConfig>, ConfigError> {
        let Some(path) = &self.lanes else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("the lanes file {} cannot be read: {error}", path.display()))
        })?;
        let mut lanes =
            parse_lanes(&text).map_err(|problem| ConfigError(format!("{}: {problem}", path.display())))?;
        for lane in &mut lanes {
            if let Some(name) = &lane.key_variable {
                let key = variable(name).ok_or_else(|| {
                    ConfigError(format!("lane {:?} takes its key from {name}, which is not set", lane.name))
                })?;
                lane.key = Some(Secret::new(key));
            }
        }
        Ok(lanes)
    }

    /// The key under which secrets are kept at rest; made once, readable by its owner alone.
    pub fn secret_key(&self) -> Result<Secret, ConfigError> {
        let path = self.data_dir.join("secret.key");
        let text = match &self.secret_key {
            Some(key) => key.clone(),
            None => match std::fs::read_to_string(&path) {
                Ok(key) => key,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(&path)?,
                Err(error) => return Err(ConfigError(format!("{} cannot be read: {error}", path.display()))),
            },
        };
        let key = text.trim();
        if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ConfigError("PROMPTROOM_SECRET_KEY must be 64 hexadecimal digits".to_owned()));
        }
        Ok(Secret::new(key))
    }
}

impl Bounds {
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.message_bytes < 4_096 || self.document_bytes < self.message_bytes {
            return Err(ConfigError(
                "PROMPTROOM_MESSAGE_BYTES must be at least 4096 and at most PROMPTROOM_DOCUMENT_BYTES"
                    .to_owned(),
            ));
        }
        if self.frames_per_s == 0 || self.runs_per_member == 0 || self.watched_runs == 0 {
            return Err(ConfigError("bounds must be at least 1".to_owned()));
        }
        Ok(())
    }

    pub fn room(&self) -> RoomLimits {
        RoomLimits {
            log: LogLimits::default(),
            members: self.room_members,
            document_bytes: self.document_bytes as usize,
            awareness_bytes: self.awareness_bytes as usize,
            idle_ms: self.room_idle_ms,
            look_ms: ROOM_LOOK_MS,
        }
    }

    pub fn gate(&self) -> GateLimits {
        GateLimits {
            runs_per_member: self.runs_per_member,
            waiting_per_lane: self.runs_waiting,
            ..GateLimits::default()
        }
    }

    pub fn told(&self) -> Limits {
        Limits {
            message_bytes: self.message_bytes,
            document_bytes: self.document_bytes,
            awareness_bytes: self.awareness_bytes,
            watched_runs: self.watched_runs,
        }
    }
}

fn provider(key: Option<&String>, base_url: Option<&String>) -> Option<ProviderConfig> {
    let key = key.filter(|key| !key.trim().is_empty())?;
    Some(ProviderConfig { key: Secret::new(key.trim()), base_url: base_url.cloned() })
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| {
        ConfigError(format!(
            "PROMPTROOM_TRUSTED_PROXIES takes addresses like 10.0.0.1 or networks like 10.0.0.0/8, not {text:?}"
        ))
    })
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is owner, admin, editor, runner or viewer".to_owned())
}

#[allow(clippy::disallowed_methods, reason = "the only reader of the environment besides clap above")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn make_key(path: &std::path::Path) -> Result<String, ConfigError> {
    use std::{fmt::Write as _, io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut key = String::with_capacity(64);
    for byte in rand::random::<[u8; 32]>() {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    let failed =
        |error: std::io::Error| ConfigError(format!("{} cannot be written: {error}", path.display()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(key)
}
