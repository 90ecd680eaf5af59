//! Watching a run to its end from wherever it can be watched, byte by byte.

use anyhow::{Result, bail};
use promptroom_loadtest::{
    client::{Client, ClientError, ConnectOptions, Create},
    run_reader::RunReader,
};
use promptroom_protocol::RunId;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A takeover, and what may stand in its way, fit in it.
const VIEW_LIMIT: Duration = Duration::from_secs(90);
const SILENCE_MAX: Duration = Duration::from_secs(20);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Reads a run to its end through these doors, going to the next one whenever the connection ends. Any byte too many,
/// too few or of another epoch is an error; rewinds are kept in the reader.
pub async fn view_to_end(doors: &[String], prompt: &str, token: &str, run: RunId) -> Result<RunReader> {
    let mut reader = RunReader::new(run);
    let give_up_at = Instant::now() + VIEW_LIMIT;
    for door in doors.iter().cycle() {
        if Instant::now() > give_up_at {
            bail!("the run was not over after {VIEW_LIMIT:?}; read {:?}", reader.cursor());
        }
        match view_from(door, prompt, token, &mut reader).await {
            Ok(()) => return Ok(reader),
            Err(error) if is_away(&error) => sleep(BETWEEN_TRIES).await,
            Err(error) => return Err(error),
        }
    }
    bail!("there is no door to watch through")
}

/// Reads on from where the reader is, through this door only.
pub async fn view_from(door: &str, prompt: &str, token: &str, reader: &mut RunReader) -> Result<()> {
    let options =
        ConnectOptions { patience: SILENCE_MAX, create: Create::Never, ..ConnectOptions::page(token) };
    let mut client = Client::connect(door, prompt, &options).await?;
    client.join().await?;
    client.watch(reader.run(), reader.cursor()).await?;
    Ok(client.read_to_end(reader).await?)
}

/// Whether an error says that a node, or the line to it, is away, and not that something is wrong with what came.
pub fn is_away(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Closed { code, .. }) => !(4400..4500).contains(code),
        Some(ClientError::Refused { status, .. }) => *status == 503,
        Some(ClientError::Connection(_) | ClientError::Late { .. }) => true,
        _ => false,
    }
}
