//! How a socket ends.

use anyhow::{Result, bail};
use promptroom_loadtest::client::{Client, ClientError};

/// The code with which the server closes this socket, whatever it sends before.
pub async fn close_code(client: &mut Client) -> Result<u16> {
    loop {
        match client.next().await {
            Ok(_) => {}
            Err(ClientError::Closed { code, .. }) => return Ok(code),
            Err(error) => bail!(error),
        }
    }
}
