//! Where Redis is, and how it is connected to. The address may hold a password and is never shown.

use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

#[derive(Debug, thiserror::Error)]
#[error(
    "the address of Redis cannot be read: it should look like redis://host:6379, \
     redis://user:password@host:6379, or rediss://… for TLS; special characters in the password are %-encoded"
)]
pub struct BadAddress;

pub(super) struct Address(ConnectionInfo);

impl Address {
    pub(super) fn parse(url: &str) -> Result<Address, BadAddress> {
        let info = url.into_connection_info().map_err(|_| BadAddress)?;
        // Messages and answers share a connection only in the newer protocol.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info =
            info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Client::open(info.clone()).map_err(|_| BadAddress)?;
        Ok(Address(info))
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_refused_without_repeating_it() {
        for url in
            ["", "localhost:6379", "http://secret@localhost", "redis://:secret@localhost:port", "redis:///"]
        {
            let Err(refusal) = Address::parse(url) else { panic!("{url} was taken") };
            assert!(!refusal.to_string().contains("secret"));
        }
    }

    #[test]
    fn addresses_with_credentials_or_tls_are_taken() {
        for url in
            ["redis://localhost", "redis://user:p%40ss@127.0.0.1:6380/2", "rediss://cache.example:6379"]
        {
            assert!(Address::parse(url).is_ok(), "{url}");
        }
    }
}
