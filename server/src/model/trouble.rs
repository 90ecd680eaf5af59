//! What a provider says went wrong, in any of the forms that are in use.

use super::{
    ModelErrorKind,
    error::{DETAIL_CHARS_MAX, bounded},
};
use serde_json::Value;

/// A provider's error object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    /// Its `type`, or its `code` where that is a word.
    pub(super) kind: String,
    pub(super) status: Option<u16>,
    pub(super) is_error: bool,
}

pub(super) fn trouble_of(body: &[u8]) -> Trouble {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let is_page = text.trim_start().starts_with('<');
        let message = if is_page { String::new() } else { bounded(&text, DETAIL_CHARS_MAX) };
        return Trouble { message, ..Trouble::default() };
    };
    let error = value.get("error").filter(|error| !error.is_null());
    let inner = error.filter(|error| error.is_object()).unwrap_or(&value);
    let text = |key: &str| inner.get(key).and_then(Value::as_str);
    let message =
        error.and_then(Value::as_str).or_else(|| text("message")).or_else(|| text("detail")).map_or_else(
            || bounded(&inner.to_string(), DETAIL_CHARS_MAX),
            |message| bounded(message, DETAIL_CHARS_MAX),
        );
    let status = ["code", "status"].iter().find_map(|key| inner.get(key)?.as_u64());
    let kind = match text("code") {
        Some("insufficient_quota") => "insufficient_quota",
        code => text("type").or(code).unwrap_or(""),
    };
    let is_error = error.is_some() || value.get("object").and_then(Value::as_str) == Some("error");
    let status =
        status.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status));
    Trouble { message, kind: kind.to_owned(), status, is_error }
}

pub(super) fn kind_of_status(status: u16) -> ModelErrorKind {
    match status {
        400 | 413 | 422 => ModelErrorKind::BadRequest,
        401 | 403 => ModelErrorKind::Unauthorized,
        404 => ModelErrorKind::NotFound,
        429 => ModelErrorKind::RateLimited,
        503 | 529 => ModelErrorKind::Overloaded,
        _ => ModelErrorKind::Provider,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_error_object_is_understood() {
        for (body, message, kind, status) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Busy"}}"#,
                "Busy",
                "overloaded_error",
                None,
            ),
            (
                r#"{"error":{"message":"No","type":"x","code":"insufficient_quota"}}"#,
                "No",
                "insufficient_quota",
                None,
            ),
            (
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                "Loading model",
                "unavailable_error",
                Some(503),
            ),
            (
                r#"{"object":"error","message":"Too long","type":"BadRequestError","code":400}"#,
                "Too long",
                "BadRequestError",
                Some(400),
            ),
            (r#"{"error":"out of memory"}"#, "out of memory", "", None),
            (r#"{"detail":"Not Found"}"#, "Not Found", "", None),
            ("plain\n words", "plain words", "", None),
            ("<html>a page</html>", "", "", None),
        ] {
            let trouble = trouble_of(body.as_bytes());
            assert_eq!(
                (trouble.message.as_str(), trouble.kind.as_str(), trouble.status),
                (message, kind, status)
            );
        }
    }
}
