//! Logs and metrics. Never prompts, tokens, keys or addresses.

use crate::config::{ConfigError, Options};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Logs go to standard error; standard output is for what a person asked for.
pub fn start(options: &Options) -> Result<PrometheusHandle, ConfigError> {
    let filter = EnvFilter::try_new(&options.log)
        .map_err(|error| ConfigError(format!("PROMPTROOM_LOG cannot be read: {error}")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if options.log_json {
        logs.json().init();
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).compact().init();
    }
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| ConfigError(format!("metrics cannot be recorded: {error}")))
}
