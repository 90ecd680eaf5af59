//! The HTTP client of the tests: for localhost, and without any of the machine's certificates.

/// Built in one workspace with the server, `reqwest` has TLS without a provider, and needs one even for plain HTTP.
pub fn http_client() -> reqwest::Client {
    // Fails if another test of this process was first, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().expect("a client of nothing but these settings")
}
