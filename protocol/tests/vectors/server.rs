//! The golden frames that the server sends.

use crate::client::{AWARENESS, EMPTY_UPDATE, UPDATE};
use bytes::Bytes;
use promptroom_protocol::{
    BlockKind, CommandId, Epoch, Hello, Limits, LineageId, MemberId, Nanodollars, Offset, Person, Problem,
    PromptId, QueuePlace, RecordsFrame, Reply, ReplyBody, RequestId, Role, RunId, RunOrigin, RunState,
    RunSummary, Seam, Seq, ServerFrame, StopReason, SyncStep, Usage, VERSION,
};
use serde_json::json;
use uuid::Uuid;

/// No number on the wire is larger, so that a browser reads each one exactly.
pub const LARGEST: u64 = (1 << 53) - 1;

pub const LINEAGE: LineageId = LineageId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000a));
pub const RUN: RunId = RunId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000b));
const PARENT: RunId = RunId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000c));
const PROMPT: PromptId = PromptId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000d));
const ADA: MemberId = MemberId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000e));
const REQUEST: RequestId = RequestId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000f));
const COMMAND: CommandId = CommandId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001));
const NOW_MS: u64 = 1_793_500_000_000;

pub fn frames() -> Vec<(&'static str, ServerFrame<'static>)> {
    let mut frames = document_frames();
    frames.extend(hello_frames());
    frames.extend(people());
    frames.extend(runs());
    frames.extend(records());
    frames.extend(positions());
    frames.extend(replies());
    frames
}

fn document_frames() -> Vec<(&'static str, ServerFrame<'static>)> {
    vec![
        ("a server's state vector", ServerFrame::Sync(SyncStep::Step1(&[0x01, 0x01, 0x04]))),
        ("a server's answer", ServerFrame::Sync(SyncStep::Step2(UPDATE))),
        ("a server's answer without anything new", ServerFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))),
        ("somebody's edit", ServerFrame::Sync(SyncStep::Update(UPDATE))),
        ("somebody's awareness", ServerFrame::Awareness(AWARENESS)),
        ("somebody leaves", ServerFrame::Awareness(b"\x01\x01\x02\x04null")),
        ("a denial", ServerFrame::Denied("You may read this prompt, not change it. 🔒")),
        ("a denial without a reason", ServerFrame::Denied("")),
        ("nothing of this socket saved yet", ServerFrame::Saved { frames: 0, head: Seq(0) }),
        ("a saved mark", ServerFrame::Saved { frames: 300, head: Seq(70_000) }),
        ("the largest saved mark", ServerFrame::Saved { frames: LARGEST, head: Seq(LARGEST) }),
        ("a drain", ServerFrame::Drain { within_ms: 10_000 }),
        ("a drain at once", ServerFrame::Drain { within_ms: 0 }),
    ]
}

fn hello_frames() -> Vec<(&'static str, ServerFrame<'static>)> {
    let hello = Hello {
        version: VERSION,
        prompt: PROMPT,
        slug: "release-notes".into(),
        lineage: LINEAGE,
        head: Seq(1),
        me: person("Ada 😀", Role::Owner, None),
        rights: Role::Owner.rights(),
        request_id: REQUEST,
        limits: Limits {
            message_bytes: 1 << 20,
            document_bytes: 8 << 20,
            awareness_bytes: 4096,
            watched_runs: 8,
        },
        runs: Vec::new(),
    };
    let mut largest = hello.clone();
    largest.head = Seq(LARGEST);
    largest.me = person("Ŵ \"quoted\" \\ \u{1}\n", Role::Viewer, Some(LARGEST));
    largest.rights = Role::Viewer.rights();
    largest.runs = vec![full_run(), run(RunState::Streaming)];
    vec![
        ("a hello in a new room", ServerFrame::Hello(Box::new(hello))),
        ("a hello with runs, to a viewer", ServerFrame::Hello(Box::new(largest))),
    ]
}

fn people() -> Vec<(&'static str, ServerFrame<'static>)> {
    let roles = [
        ("a viewer", Role::Viewer),
        ("a runner", Role::Runner),
        ("an editor", Role::Editor),
        ("an admin", Role::Admin),
        ("an owner", Role::Owner),
    ];
    let bound = |role| ServerFrame::Person(Box::new(person("Łukasz 👩‍💻", role, Some(4_294_967_295))));
    let mut frames: Vec<_> = roles.into_iter().map(|(name, role)| (name, bound(role))).collect();
    frames.push((
        "somebody without a client id",
        ServerFrame::Person(Box::new(person("Ada", Role::Editor, None))),
    ));
    frames
}

fn runs() -> Vec<(&'static str, ServerFrame<'static>)> {
    let mut queued = run(RunState::Queued);
    queued.queue =
        Some(QueuePlace { position: 2, waiting: 5, reason: "All 4 slots of demo are taken.".into() });
    let mut failed = run(RunState::Failed);
    failed.problem = Some(problem());
    let mut rejected = run(RunState::Rejected);
    rejected.problem = Some(short_problem());
    let mut truncated = run(RunState::Truncated);
    truncated.stop_reason = Some(StopReason::MaxTokens);
    let mut cancelled = run(RunState::Cancelled);
    cancelled.stopped_by = Some(person("Grace", Role::Editor, Some(7)));
    let runs = [
        ("a queued run", queued),
        ("an admitted run", run(RunState::Admitted)),
        ("a streaming run", run(RunState::Streaming)),
        ("a recovering run", run(RunState::Recovering)),
        ("a completed run with everything said", full_run()),
        ("a truncated run", truncated),
        ("a cancelled run", cancelled),
        ("a failed run", failed),
        ("an interrupted run", run(RunState::Interrupted)),
        ("a rejected run", rejected),
    ];
    runs.into_iter().map(|(name, run)| (name, ServerFrame::Run(Box::new(run)))).collect()
}

fn records() -> Vec<(&'static str, ServerFrame<'static>)> {
    let frame = |epoch, offset, records| {
        ServerFrame::Records(RecordsFrame { run: RUN, epoch: Epoch(epoch), offset: Offset(offset), records })
    };
    let text = |bytes: &'static str| Bytes::from_static(bytes.as_bytes());
    let all_kinds = vec![
        (0, BlockKind::Reasoning, text("Wait… 🤔")),
        (1, BlockKind::Text, text("a")),
        (2, BlockKind::ToolCall, text("{\"id\":\"call_1\",\"name\":\"weather\"}\n{\"city\":\"Zürich\"}")),
        (1, BlockKind::Text, text("é😀")),
    ];
    let largest = vec![(u32::MAX, BlockKind::Text, text("."))];
    vec![
        ("records without a record", frame(1, 0, Vec::new())),
        ("the first byte of a run", frame(1, 0, vec![(0, BlockKind::Text, text("H"))])),
        ("records of every kind", frame(2, 1_000_000, all_kinds)),
        ("records with the largest numbers", frame(u32::MAX, LARGEST, largest)),
    ]
}

fn positions() -> Vec<(&'static str, ServerFrame<'static>)> {
    let (start, largest) = (Offset(0), Offset(LARGEST));
    vec![
        ("a rewind", ServerFrame::Rewind { run: RUN, epoch: Epoch(2), offset: Offset(4_096) }),
        ("a rewind to the start", ServerFrame::Rewind { run: RUN, epoch: Epoch(2), offset: start }),
        ("the largest rewind", ServerFrame::Rewind { run: RUN, epoch: Epoch(u32::MAX), offset: largest }),
        ("an end", ServerFrame::End { run: RUN, epoch: Epoch(1), offset: Offset(1_048_577) }),
        ("an end without output", ServerFrame::End { run: RUN, epoch: Epoch::FIRST, offset: start }),
        ("the largest end", ServerFrame::End { run: RUN, epoch: Epoch(u32::MAX), offset: largest }),
    ]
}

fn replies() -> Vec<(&'static str, ServerFrame<'static>)> {
    let reply = |body| ServerFrame::Reply(Box::new(Reply { id: COMMAND, body }));
    vec![
        ("a reply with the run", reply(ReplyBody::Ok { run: Box::new(run(RunState::Queued)) })),
        ("a reply with a problem", reply(ReplyBody::Error(Box::new(problem())))),
        ("a problem", ServerFrame::Problem(Box::new(problem()))),
        ("a problem in few words", ServerFrame::Problem(Box::new(short_problem()))),
    ]
}

fn run(state: RunState) -> RunSummary {
    RunSummary {
        id: RUN,
        prompt: PROMPT,
        number: 1,
        origin: RunOrigin::Run,
        parent: None,
        by: person("Ada", Role::Editor, None),
        variant: "main".into(),
        model: "demo/markdown".into(),
        state,
        epoch: Epoch::FIRST,
        bytes: Offset(0),
        hash: "9f86d081884c7d65".into(),
        parameters: json!({}),
        created_at_ms: NOW_MS,
        admitted_at_ms: None,
        first_token_at_ms: None,
        ended_at_ms: None,
        queue: None,
        stop_reason: None,
        stop_sequence: None,
        stopped_by: None,
        usage: None,
        cost: None,
        attempts: 1,
        seams: Vec::new(),
        problem: None,
    }
}

fn full_run() -> RunSummary {
    RunSummary {
        number: u32::MAX,
        origin: RunOrigin::Continue,
        parent: Some(PARENT),
        epoch: Epoch(2),
        bytes: Offset(LARGEST),
        parameters: json!({"max_tokens": 1024, "stop": "END", "temperature": 0.7}),
        admitted_at_ms: Some(NOW_MS + 3),
        first_token_at_ms: Some(NOW_MS + 250),
        ended_at_ms: Some(LARGEST),
        stop_reason: Some(StopReason::StopSequence),
        stop_sequence: Some("END 😀".into()),
        usage: Some(Usage {
            input_tokens: LARGEST,
            cached_input_tokens: 1,
            output_tokens: 200,
            reasoning_tokens: 0,
            estimated: true,
        }),
        cost: Some(Nanodollars(12_345_678)),
        attempts: 2,
        seams: vec![Seam { epoch: Epoch(2), offset: Offset(4_096), at_ms: NOW_MS + 900, gap_ms: 640 }],
        ..run(RunState::Completed)
    }
}

fn person(name: &str, role: Role, client: Option<u64>) -> Person {
    Person { id: ADA, name: name.into(), role, client }
}

fn problem() -> Problem {
    Problem {
        kind: "about:blank".into(),
        title: "The queue is full".into(),
        status: 429,
        code: "run.queue_full".into(),
        detail: "Too many runs are waiting for demo.".into(),
        kept: "Your prompt is saved. Nothing was spent.".into(),
        next: "Run it again in a minute.".into(),
        request_id: Some(REQUEST),
        retry_after_ms: Some(60_000),
    }
}

fn short_problem() -> Problem {
    Problem {
        kind: "about:blank".into(),
        title: "Not found".into(),
        status: 404,
        code: "prompt.not_found".into(),
        detail: "There is no such prompt.".into(),
        kept: String::new(),
        next: String::new(),
        request_id: None,
        retry_after_ms: None,
    }
}
