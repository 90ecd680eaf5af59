-- Who may come in, and as what: everything else hangs on a workspace and on who acts in it.

CREATE TABLE workspaces (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Moves with every change of who may do what, so that other nodes and unwritten edits notice.
    rights_epoch INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE principals (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    kind TEXT NOT NULL CHECK (kind IN ('person', 'token', 'link')),
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'runner', 'editor', 'admin', 'owner')),
    token_hash BLOB UNIQUE,
    created_at_ms INTEGER NOT NULL,
    last_seen_at_ms INTEGER,
    -- The row stays: runs and prompts go on naming who made them.
    removed_at_ms INTEGER
) STRICT;
CREATE INDEX principals_of_workspace ON principals (workspace_id, created_at_ms);

CREATE TABLE sign_in_links (
    hash BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    -- Null: whoever uses it is the owner, made on first use.
    principal_id BLOB REFERENCES principals (id),
    expires_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    hash BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    principal_id BLOB NOT NULL REFERENCES principals (id),
    created_at_ms INTEGER NOT NULL,
    last_seen_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of_principal ON sessions (principal_id);

CREATE TABLE invites (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    hash BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'runner', 'editor', 'admin')),
    created_by BLOB NOT NULL REFERENCES principals (id),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
