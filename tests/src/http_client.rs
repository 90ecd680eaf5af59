//! The HTTP client of the tests: for localhost, and without any of the machine's certificates.

use std::net::{IpAddr, Ipv4Addr};

/// Built in one workspace with the server, `reqwest` has TLS without a provider, and needs one even for plain HTTP.
pub fn http_client() -> reqwest::Client {
    http_client_from(Ipv4Addr::LOCALHOST)
}

/// One that comes from this address of loopback.
pub fn http_client_from(address: Ipv4Addr) -> reqwest::Client {
    // Fails if another test of this process was first, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .local_address(IpAddr::V4(address))
        .tls_certs_only([])
        .build()
        .expect("a client of nothing but these settings")
}
