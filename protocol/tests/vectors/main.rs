//! The golden frames of `vectors/`: what this crate writes and reads is what every other client writes and reads.
//!
//! `frames.json` and `refused.json` are the contract, read by the page's tests too. When a frame changes on
//! purpose, a failing test leaves the new content in the temporary directory to be looked at and copied.

mod plain;
mod client;
mod server;
mod refused;

use plain::Plain;
use promptroom_protocol::{ClientFrame, ServerFrame};
use serde::Serialize;
use std::{fs, path::PathBuf};

/// One golden frame: its bytes, and the same thing as an object that any language can compare.
#[derive(Serialize)]
struct Vector<'a> {
    name: &'static str,
    side: &'static str,
    hex: String,
    json: Plain<'a>,
}

#[test]
fn every_frame_is_written_as_in_the_golden_file() {
    let client = client::frames();
    let server = server::frames();
    let mut vectors: Vec<Vector<'_>> = Vec::new();
    for (name, frame) in &client {
        let hex = plain::hex(&frame.encode());
        vectors.push(Vector { name, side: "client", hex, json: Plain::of_client(frame) });
    }
    for (name, frame) in &server {
        let hex = plain::hex(&frame.encode());
        vectors.push(Vector { name, side: "server", hex, json: Plain::of_server(frame) });
    }
    compare_with_file("frames.json", &vectors);
}

#[test]
fn every_golden_frame_reads_back_as_what_was_written() {
    for (name, frame) in client::frames() {
        assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame.clone()), "{name}");
    }
    for (name, frame) in server::frames() {
        assert_eq!(ServerFrame::decode(&frame.encode()), Ok(frame.clone()), "{name}");
    }
}

#[test]
fn every_type_of_frame_has_a_golden_one() {
    let mut types: Vec<String> = Vec::new();
    types.extend(client::frames().iter().map(|(_, frame)| Plain::of_client(frame).type_name()));
    types.extend(server::frames().iter().map(|(_, frame)| Plain::of_server(frame).type_name()));
    for name in plain::TYPE_NAMES {
        assert!(types.iter().any(|seen| seen == name), "no golden frame of type {name}");
    }
}

#[test]
fn what_is_not_a_frame_is_refused_for_the_reason_in_the_golden_file() {
    let refused = refused::all();
    for case in &refused {
        let bytes = plain::unhex(case.hex());
        let error = match case.side() {
            "client" => ClientFrame::decode(&bytes).map(|_| ()),
            _ => ServerFrame::decode(&bytes).map(|_| ()),
        };
        assert_eq!(error, Err(case.reason()), "{}", case.name());
    }
    compare_with_file("refused.json", &refused);
}

#[test]
fn a_frame_cut_short_anywhere_is_refused() {
    for (name, frame) in client::frames() {
        let whole = frame.encode();
        for length in 0..whole.len() {
            assert!(ClientFrame::decode(&whole[..length]).is_err(), "{name} cut to {length} bytes");
        }
    }
    for (name, frame) in server::frames() {
        let whole = frame.encode();
        for length in 0..whole.len() {
            let cut = ServerFrame::decode(&whole[..length]);
            let between_records =
                matches!((&frame, &cut), (ServerFrame::Records(_), Ok(ServerFrame::Records(_))));
            assert!(cut.is_err() || between_records, "{name} cut to {length} bytes");
        }
    }
}

fn compare_with_file<T: Serialize>(name: &str, content: &T) {
    let mut text = serde_json::to_string_pretty(content).expect("vectors are plain JSON");
    text.push('\n');
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    if fs::read_to_string(&golden).is_ok_and(|golden| golden == text) {
        return;
    }
    let fresh = std::env::temp_dir().join(format!("promptroom-{name}"));
    fs::write(&fresh, text).expect("the temporary directory can be written");
    panic!("{} differs from what the code says; see {}", golden.display(), fresh.display());
}
