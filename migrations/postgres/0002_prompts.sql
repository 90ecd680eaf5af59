-- A prompt and its room: one row that every commit moves, and the rows of the document's log behind it.

CREATE TABLE prompts (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    owner_id UUID NOT NULL REFERENCES principals (id),
    slug TEXT NOT NULL,
    title TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'workspace')),
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT,
    deleted_by UUID REFERENCES principals (id),
    lineage UUID NOT NULL,
    -- The newest row of the document.
    head BIGINT NOT NULL,
    -- Moves with every change of the rows about this prompt that are not its document.
    revision BIGINT NOT NULL DEFAULT 1,
    -- The number of the newest run.
    runs BIGINT NOT NULL DEFAULT 0,
    snapshot_seq BIGINT,
    -- The generation before; rows are kept from the one after it.
    snapshot_seq_older BIGINT,
    -- Bytes of the rows after the newest snapshot: how due the next one is.
    tail_bytes BIGINT NOT NULL
) WITH (fillfactor = 70);
-- Nothing that a commit changes is in an index: every keystroke comes through here.
CREATE INDEX prompts_of_workspace ON prompts (workspace_id, visibility);
CREATE INDEX prompts_of_owner ON prompts (owner_id);

-- A slug leads to the same prompt for ever: renamed and deleted ones stay taken, so that an old offline
-- copy never merges into a second history.
CREATE TABLE slugs (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    slug TEXT NOT NULL,
    prompt_id UUID NOT NULL REFERENCES prompts (id),
    PRIMARY KEY (workspace_id, slug)
);

CREATE TABLE room_updates (
    prompt_id UUID NOT NULL REFERENCES prompts (id),
    seq BIGINT NOT NULL,
    workspace_id UUID NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (prompt_id, seq)
);

CREATE TABLE room_snapshots (
    prompt_id UUID NOT NULL REFERENCES prompts (id),
    seq BIGINT NOT NULL,
    workspace_id UUID NOT NULL,
    bytes BYTEA NOT NULL,
    sha256 BYTEA NOT NULL,
    PRIMARY KEY (prompt_id, seq)
);
