//! What a browser can take and what it already has, as it says itself.

use axum::http::{HeaderMap, HeaderName, header};

/// Whether this encoding is named and not refused; `*` names none, because a plain answer is always right.
pub fn accepts_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    elements(headers, header::ACCEPT_ENCODING).any(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        name.trim().eq_ignore_ascii_case(encoding) && !is_refused(parameters)
    })
}

/// Whether somebody looks at this, rather than a script or an image tag.
pub fn accepts_html(headers: &HeaderMap) -> bool {
    elements(headers, header::ACCEPT).any(|element| {
        element.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
    })
}

/// Whether the browser has the representation with this tag.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    elements(headers, header::IF_NONE_MATCH)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn is_refused(parameters: &str) -> bool {
    let quality = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
    quality.is_some_and(|quality| quality.trim().parse() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().expect("a value"))].into_iter().collect()
    }

    #[test]
    fn an_encoding_is_used_only_if_it_is_named_and_not_refused() {
        let accepts = |list: &str, encoding| accepts_encoding(&with(header::ACCEPT_ENCODING, list), encoding);
        assert!(accepts("gzip, deflate, br, zstd", "br"));
        assert!(accepts("GZIP;q=0.5", "gzip"));
        assert!(!accepts("br;q=0, gzip", "br"));
        assert!(!accepts("br;q=0.000", "br"));
        assert!(!accepts("*", "br") && !accepts("brr", "br") && !accepts("", "br"));
    }

    #[test]
    fn a_tag_is_known_in_a_list_and_as_a_weak_one() {
        let known = |list: &str| is_known(&with(header::IF_NONE_MATCH, list), "\"abc\"");
        assert!(known("\"abc\"") && known("\"x\", W/\"abc\"") && known("*"));
        assert!(!known("\"abcd\"") && !known("abc"));
    }

    #[test]
    fn only_who_asks_for_a_document_gets_one() {
        let asks = |kinds: &str| accepts_html(&with(header::ACCEPT, kinds));
        assert!(asks("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"));
        assert!(!asks("*/*") && !asks("image/avif,image/webp"));
    }
}
