-- Which processes serve, so that the others notice when one of them is gone and take over what it drove.

-- One row for each life of a process: a restarted one is another node.
CREATE TABLE nodes (
    id BLOB NOT NULL PRIMARY KEY,
    -- For operators.
    name TEXT NOT NULL,
    -- Counts heartbeats: others compare it with what they read before, never with a clock.
    beat INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    -- For operators: by the node's own clock.
    last_at_ms INTEGER NOT NULL,
    -- Since then it takes nothing new.
    stopped_at_ms INTEGER
) STRICT;

-- A node that hands over or is gone: what it drove.
CREATE INDEX runs_of_node ON runs (node_id) WHERE ended_at_ms IS NULL;
