-- Runs, the attempts that were paid for them, and the bytes that came back.

CREATE TABLE runs (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    prompt_id UUID NOT NULL REFERENCES prompts (id),
    number BIGINT NOT NULL,
    command_id UUID NOT NULL,
    principal_id UUID NOT NULL REFERENCES principals (id),
    origin TEXT NOT NULL,
    parent_id UUID REFERENCES runs (id),
    variant TEXT NOT NULL,
    model TEXT NOT NULL,
    parameters_json TEXT NOT NULL,
    -- The exact request, secrets redacted, and what it was cut from.
    request_json TEXT NOT NULL,
    source_json TEXT NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    -- The guard of every checkpoint, claim and end: who drives, and how many bytes are on disk.
    epoch BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    -- Null: nobody drives it, whoever comes first may claim it.
    node_id UUID,
    cancel_requested_by UUID REFERENCES principals (id),
    created_at_ms BIGINT NOT NULL,
    admitted_at_ms BIGINT,
    first_token_at_ms BIGINT,
    -- When bytes last came.
    moved_at_ms BIGINT,
    ended_at_ms BIGINT,
    stop_reason TEXT,
    stop_sequence TEXT,
    stopped_by UUID REFERENCES principals (id),
    problem_json TEXT,
    UNIQUE (prompt_id, number),
    UNIQUE (principal_id, command_id)
) WITH (fillfactor = 70);
CREATE INDEX runs_unfinished ON runs (created_at_ms) WHERE ended_at_ms IS NULL;

-- What each driver began with, kept for good: a reader of an older epoch is rewound to the next one's start.
CREATE TABLE run_claims (
    run_id UUID NOT NULL REFERENCES runs (id),
    epoch BIGINT NOT NULL,
    workspace_id UUID NOT NULL,
    start BIGINT NOT NULL,
    -- When bytes had last come before it.
    moved_at_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, epoch)
);

CREATE TABLE run_attempts (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    run_id UUID NOT NULL REFERENCES runs (id),
    epoch BIGINT NOT NULL,
    node_id UUID NOT NULL,
    -- The offset at which its output begins.
    start BIGINT NOT NULL,
    price_json TEXT NOT NULL,
    admitted_at_ms BIGINT NOT NULL,
    settled_at_ms BIGINT,
    -- So far, then as settled.
    input_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    -- Null: no price is known.
    cost_nanos BIGINT
);
CREATE INDEX run_attempts_of_run ON run_attempts (run_id, admitted_at_ms);
CREATE INDEX run_attempts_open ON run_attempts (admitted_at_ms) WHERE settled_at_ms IS NULL;

-- Appended while a run goes on, folded into run_outputs when it ends.
CREATE TABLE run_chunks (
    run_id UUID NOT NULL REFERENCES runs (id),
    start BIGINT NOT NULL,
    workspace_id UUID NOT NULL,
    epoch BIGINT NOT NULL,
    block BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (run_id, start)
);

-- The output of an ended run in order of arrival; neighbours of one block are one row.
CREATE TABLE run_outputs (
    run_id UUID NOT NULL REFERENCES runs (id),
    start BIGINT NOT NULL,
    workspace_id UUID NOT NULL,
    block BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (run_id, start)
);
