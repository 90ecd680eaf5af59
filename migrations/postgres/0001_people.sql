-- Who may come in, and as what: everything else hangs on a workspace and on who acts in it.

CREATE TABLE workspaces (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Moves with every change of who may do what, so that other nodes and unwritten edits notice.
    rights_epoch BIGINT NOT NULL DEFAULT 1
);

CREATE TABLE principals (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    kind TEXT NOT NULL CHECK (kind IN ('person', 'token', 'link')),
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'runner', 'editor', 'admin', 'owner')),
    token_hash BYTEA UNIQUE,
    created_at_ms BIGINT NOT NULL,
    last_seen_at_ms BIGINT,
    -- The row stays: runs and prompts go on naming who made them.
    removed_at_ms BIGINT
);
CREATE INDEX principals_of_workspace ON principals (workspace_id, created_at_ms);

CREATE TABLE sign_in_links (
    hash BYTEA NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    -- Null: whoever uses it is the owner, made on first use.
    principal_id UUID REFERENCES principals (id),
    expires_at_ms BIGINT NOT NULL
);

CREATE TABLE sessions (
    hash BYTEA NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    principal_id UUID NOT NULL REFERENCES principals (id),
    created_at_ms BIGINT NOT NULL,
    last_seen_at_ms BIGINT NOT NULL
);
CREATE INDEX sessions_of_principal ON sessions (principal_id);

CREATE TABLE invites (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    hash BYTEA NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'runner', 'editor', 'admin')),
    created_by UUID NOT NULL REFERENCES principals (id),
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
