-- A prompt and its room: one row that every commit moves, and the rows of the document's log behind it.

CREATE TABLE prompts (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    owner_id BLOB NOT NULL REFERENCES principals (id),
    slug TEXT NOT NULL,
    title TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'workspace')),
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER,
    deleted_by BLOB REFERENCES principals (id),
    lineage BLOB NOT NULL,
    -- The newest row of the document.
    head INTEGER NOT NULL,
    -- Moves with every change of the rows about this prompt that are not its document.
    revision INTEGER NOT NULL DEFAULT 1,
    -- The number of the newest run.
    runs INTEGER NOT NULL DEFAULT 0,
    snapshot_seq INTEGER,
    -- The generation before; rows are kept from the one after it.
    snapshot_seq_older INTEGER,
    -- Bytes of the rows after the newest snapshot: how due the next one is.
    tail_bytes INTEGER NOT NULL
) STRICT;
-- Nothing that a commit changes is in an index: every keystroke comes through here.
CREATE INDEX prompts_of_workspace ON prompts (workspace_id, visibility);
CREATE INDEX prompts_of_owner ON prompts (owner_id);

-- A slug leads to the same prompt for ever: renamed and deleted ones stay taken, so that an old offline
-- copy never merges into a second history.
CREATE TABLE slugs (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    slug TEXT NOT NULL,
    prompt_id BLOB NOT NULL REFERENCES prompts (id),
    PRIMARY KEY (workspace_id, slug)
) STRICT, WITHOUT ROWID;

CREATE TABLE room_updates (
    prompt_id BLOB NOT NULL REFERENCES prompts (id),
    seq INTEGER NOT NULL,
    workspace_id BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (prompt_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE room_snapshots (
    prompt_id BLOB NOT NULL REFERENCES prompts (id),
    seq INTEGER NOT NULL,
    workspace_id BLOB NOT NULL,
    bytes BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (prompt_id, seq)
) STRICT;
