//! The document beside real Yjs: random sessions of several people, delivered in disorder and more than once.

use super::{ApplyError, Document, FrameRefusal, Sleeper};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers");
const SEED: u64 = 20_261_124;
const ROUNDS: usize = 2_000;
/// The server's document rests and wakes up after so many frames.
const FRAMES_AWAKE: usize = 10;

/// A Node process that speaks JSON lines and ends with its owner.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub fn start(arguments: &[String]) -> Peer {
        let installed = std::path::Path::new(PEERS).join("node_modules/yjs/package.json").exists();
        assert!(
            installed,
            "tests/peers/node_modules is missing: `make test` installs it (npm ci in tests/peers)"
        );
        let mut child = Command::new("node")
            .arg("yjs/differential.mjs")
            .args(arguments)
            .current_dir(PEERS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node (≥ 20.19) must be on the path");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Peer { child, input, output }
    }

    pub fn next(&mut self) -> Value {
        let line = self.output.next().expect("the Node peer ended early").expect("its output is readable");
        serde_json::from_str(&line).expect("a line of JSON")
    }

    /// What a fresh Yjs document makes of a whole state.
    pub fn verify(&mut self, state: &[u8]) -> Value {
        writeln!(self.input, "{}", json!({ "state": STANDARD.encode(state) })).expect("the Node peer reads");
        self.next()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("base64")).expect("base64")
}

/// Delivers frames as they come and those that were refused for now again, until all are in.
fn deliver(sleeper: &mut Sleeper, frames: Vec<Vec<u8>>) -> usize {
    let mut waiting = frames;
    let (mut redelivered, mut delivered) = (0, 0);
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|frame| {
            delivered += 1;
            if delivered % FRAMES_AWAKE == 0 {
                // The first look is too early.
                let rests = [sleeper.rest(), sleeper.rest()];
                assert_eq!(rests, [false, true], "it rests, and reads back as it is");
            }
            match sleeper.wake().expect("it wakes up").apply(frame) {
                Ok(_) => false,
                Err(ApplyError::Refused(FrameRefusal::Missing)) => true,
                Err(other) => panic!("a legitimate frame was refused: {other:?} {frame:02x?}"),
            }
        });
        redelivered += waiting.len();
        assert!(waiting.len() < before, "{} legitimate frames never fit", waiting.len());
    }
    redelivered
}

#[test]
fn server_and_clients_end_equal_however_frames_are_delivered() {
    let seed = option_env!("PROMPTROOM_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed}");
    let arguments =
        ["rounds", "--seed", &seed.to_string(), "--rounds", &ROUNDS.to_string()].map(str::to_owned);
    let mut sessions = Peer::start(&arguments);
    let mut fresh = Peer::start(&["verify".to_owned()]);
    let (mut frames, mut redelivered) = (0, 0);
    for round in 0..ROUNDS {
        let session = sessions.next();
        let delivered: Vec<Vec<u8>> =
            session["frames"].as_array().expect("frames").iter().map(bytes).collect();
        frames += delivered.len();
        let empty = Document::load(round as u64, None, [].into_iter()).expect("an empty document");
        let mut sleeper = Sleeper::new(empty);
        redelivered += deliver(&mut sleeper, delivered);
        let document = sleeper.wake().expect("it wakes up");
        let client = bytes(&session["state"]);
        assert_eq!(document.apply(&client), Ok(super::Applied::Nothing), "seed {seed}, round {round}");
        let theirs = Document::load(1, Some(&client), [].into_iter()).expect("a client's state loads");
        assert_eq!(document.digest(), theirs.digest(), "seed {seed}, round {round}");
        assert_eq!(document.content(), theirs.content(), "seed {seed}, round {round}");
        let state = document.encode_all().expect("a state");
        let read = fresh.verify(&state);
        assert_eq!(read["waits"], false, "seed {seed}, round {round}");
        assert_eq!(read["print"], session["print"], "seed {seed}, round {round}");
        let diff = document.diff(&theirs.state_vector()).expect("a diff");
        assert_eq!(document.apply(&diff), Ok(super::Applied::Nothing));
    }
    println!("{ROUNDS} rounds, {frames} frames delivered, {redelivered} of them again");
}
