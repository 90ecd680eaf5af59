-- Runs, the attempts that were paid for them, and the bytes that came back.

CREATE TABLE runs (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    prompt_id BLOB NOT NULL REFERENCES prompts (id),
    number INTEGER NOT NULL,
    command_id BLOB NOT NULL,
    principal_id BLOB NOT NULL REFERENCES principals (id),
    origin TEXT NOT NULL,
    parent_id BLOB REFERENCES runs (id),
    variant TEXT NOT NULL,
    model TEXT NOT NULL,
    parameters_json TEXT NOT NULL,
    -- The exact request, secrets redacted, and what it was cut from.
    request_json TEXT NOT NULL,
    source_json TEXT NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    -- The guard of every checkpoint, claim and end: who drives, and how many bytes are on disk.
    epoch INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    -- Null: nobody drives it, whoever comes first may claim it.
    node_id BLOB,
    cancel_requested_by BLOB REFERENCES principals (id),
    created_at_ms INTEGER NOT NULL,
    admitted_at_ms INTEGER,
    first_token_at_ms INTEGER,
    -- When bytes last came.
    moved_at_ms INTEGER,
    ended_at_ms INTEGER,
    stop_reason TEXT,
    stop_sequence TEXT,
    stopped_by BLOB REFERENCES principals (id),
    problem_json TEXT,
    UNIQUE (prompt_id, number),
    UNIQUE (principal_id, command_id)
) STRICT;
CREATE INDEX runs_unfinished ON runs (created_at_ms) WHERE ended_at_ms IS NULL;

-- What each driver began with, kept for good: a reader of an older epoch is rewound to the next one's start.
CREATE TABLE run_claims (
    run_id BLOB NOT NULL REFERENCES runs (id),
    epoch INTEGER NOT NULL,
    workspace_id BLOB NOT NULL,
    start INTEGER NOT NULL,
    -- When bytes had last come before it.
    moved_at_ms INTEGER NOT NULL,
    PRIMARY KEY (run_id, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_attempts (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    run_id BLOB NOT NULL REFERENCES runs (id),
    epoch INTEGER NOT NULL,
    node_id BLOB NOT NULL,
    -- The offset at which its output begins.
    start INTEGER NOT NULL,
    price_json TEXT NOT NULL,
    admitted_at_ms INTEGER NOT NULL,
    settled_at_ms INTEGER,
    -- So far, then as settled.
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    -- Null: no price is known.
    cost_nanos INTEGER
) STRICT;
CREATE INDEX run_attempts_of_run ON run_attempts (run_id, admitted_at_ms);
CREATE INDEX run_attempts_open ON run_attempts (admitted_at_ms) WHERE settled_at_ms IS NULL;

-- Appended while a run goes on, folded into run_outputs when it ends.
CREATE TABLE run_chunks (
    run_id BLOB NOT NULL REFERENCES runs (id),
    start INTEGER NOT NULL,
    workspace_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    block INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (run_id, start)
) STRICT, WITHOUT ROWID;

-- The output of an ended run in order of arrival; neighbours of one block are one row.
CREATE TABLE run_outputs (
    run_id BLOB NOT NULL REFERENCES runs (id),
    start INTEGER NOT NULL,
    workspace_id BLOB NOT NULL,
    block INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (run_id, start)
) STRICT;
