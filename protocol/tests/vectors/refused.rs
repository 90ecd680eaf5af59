//! Bytes that are not a frame, and why.

use promptroom_protocol::FrameError;
use serde::Serialize;

/// One refusal; `error` is the reason's name in the golden file.
#[derive(Serialize)]
pub struct Refused {
    name: &'static str,
    side: &'static str,
    hex: &'static str,
    error: &'static str,
}

impl Refused {
    pub fn name(&self) -> &str {
        self.name
    }

    pub fn side(&self) -> &str {
        self.side
    }

    pub fn hex(&self) -> &str {
        self.hex
    }

    pub fn reason(&self) -> FrameError {
        match self.error {
            "short" => FrameError::Short,
            "trailing" => FrameError::Trailing,
            "number_too_large" => FrameError::NumberTooLarge,
            "unknown_type" => FrameError::UnknownType,
            "bad_json" => FrameError::BadJson,
            "unknown_kind" => FrameError::UnknownKind,
            other => panic!("no reason is called {other}"),
        }
    }
}

pub fn all() -> Vec<Refused> {
    let mut refused = from_client();
    refused.extend(from_server());
    refused
}

fn from_client() -> Vec<Refused> {
    vec![
        client("nothing", "", "short"),
        client("a type without an end", "80", "short"),
        client("a type of more than 64 bits", "ffffffffffffffffffff01", "number_too_large"),
        client("a type written in eleven bytes", "8080808080808080808000", "number_too_large"),
        client("an unknown type", "04", "unknown_type"),
        client("an unknown type of ours", "24", "unknown_type"),
        client("a server's frame from a client", "110000", "unknown_type"),
        client("a denial from a client", "020000", "unknown_type"),
        client("a sync without a step", "00", "short"),
        client("a sync with an unknown step", "000300", "unknown_type"),
        client("an edit without its length", "0002", "short"),
        client("an edit shorter than its length", "0002050000", "short"),
        client("an edit with a huge length", "0002ffffffffffffffff7f00", "short"),
        client("an edit with a length of more than 64 bits", "0002ffffffffffffffffff7f", "number_too_large"),
        client("an edit with a byte too many", "000202000000", "trailing"),
        client("awareness shorter than its length", "010200", "short"),
        client("a question with a byte too many", "0300", "trailing"),
        client("a join with half a lineage", "200198c0de00007000", "short"),
        client("a join without a state vector", "200198c0de00007000800000000000000a00", "short"),
        client("a watch without an offset", "210198c0de00007000800000000000000b01", "short"),
        client(
            "a watch of an epoch beyond 32 bits",
            "210198c0de00007000800000000000000b808080801000",
            "number_too_large",
        ),
        client("an unwatch of half a run", "220198c0de", "short"),
        client("an unwatch with a byte too many", "220198c0de00007000800000000000000b00", "trailing"),
        client("a command that is not JSON", "2304ff000000", "bad_json"),
        client("a command without an id", "230c7b22646f223a2272756e227d", "bad_json"),
        client("a command of no bytes", "2300", "bad_json"),
    ]
}

fn from_server() -> Vec<Refused> {
    vec![
        server("nothing", "", "short"),
        server("an unknown type", "05", "unknown_type"),
        server("a client's frame from the server", "220198c0de00007000800000000000000b", "unknown_type"),
        server("a question from the server", "03", "unknown_type"),
        server("a saved mark without a head", "1101", "short"),
        server("a saved mark with a byte too many", "11010100", "trailing"),
        server("a drain without its time", "17", "short"),
        server("a denial that is not text", "020001ff", "bad_json"),
        server("a hello that is an empty object", "10027b7d", "bad_json"),
        server("a run that is an empty object", "12027b7d", "bad_json"),
        server("records without a run", "13", "short"),
        server(
            "a record of an unknown kind",
            "130198c0de00007000800000000000000b010000030161",
            "unknown_kind",
        ),
        server("a record without its bytes", "130198c0de00007000800000000000000b010000000561", "short"),
        server(
            "a record of a block beyond 32 bits",
            "130198c0de00007000800000000000000b01008080808010000161",
            "number_too_large",
        ),
        server("a rewind without an offset", "140198c0de00007000800000000000000b02", "short"),
        server(
            "an end of an epoch beyond 32 bits",
            "150198c0de00007000800000000000000bffffffff1f00",
            "number_too_large",
        ),
        server("a reply that is neither", "16027b7d", "bad_json"),
    ]
}

fn client(name: &'static str, hex: &'static str, error: &'static str) -> Refused {
    Refused { name, side: "client", hex, error }
}

fn server(name: &'static str, hex: &'static str, error: &'static str) -> Refused {
    Refused { name, side: "server", hex, error }
}
