//! Who sends a request: the peer itself, or whoever a trusted proxy says it speaks for.

use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For>: each proxy adds its peer at
/// the end, and whatever stands before what a trusted one wrote may be made up.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that attempts are counted by.
pub fn client_address(request: &Request, trusted: &[IpNet]) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    behind_proxies(peer, request.headers(), trusted)
}

fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default());
    let mut told: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut address = peer.to_canonical();
    while trusted.iter().any(|network| network.contains(&address)) {
        match told.pop().and_then(parse) {
            Some(before) => address = before,
            None => break,
        }
    }
    address
}

/// Some proxies add the port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn seen(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        behind_proxies(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.2", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("::ffff:10.0.0.2", &["[2001:db8::7]:4711"]), "2001:db8::7");
    }

    #[test]
    fn what_a_client_made_up_is_not_believed() {
        assert_eq!(seen("10.0.0.2", &["192.0.2.66, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.2", &["192.0.2.66", "198.51.100.1, fd00::3"]), "198.51.100.1");
    }

    #[test]
    fn without_a_readable_address_it_is_the_proxys() {
        assert_eq!(seen("10.0.0.2", &[]), "10.0.0.2");
        assert_eq!(seen("10.0.0.2", &["198.51.100.1, unknown"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.2", &["10.0.0.3"]), "10.0.0.3");
        // What stands before a line that cannot be read may be made up.
        assert_eq!(seen("10.0.0.2", &["192.0.2.66", "é, 198.51.100.1"]), "10.0.0.2");
    }
}
