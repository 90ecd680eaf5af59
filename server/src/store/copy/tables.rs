//! What there is to copy: every table with its columns and its key, those that others refer to first.

/// How a column's values are kept, in any database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Uuid,
    Int,
    Text,
    Bytes,
}
use Column::{Bytes, Int, Text, Uuid};

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Column)],
    /// The columns, by their place, in whose order rows are copied: unique, and parents come before children.
    pub(super) key: &'static [usize],
}

impl Table {
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(name, _)| *name).collect()
    }
}

pub(super) const TABLES: &[Table] = &[
    Table { name: "workspaces", columns: &[("id", Uuid), ("name", Text), ("rights_epoch", Int)], key: &[0] },
    Table {
        name: "principals",
        columns: &[
            ("id", Uuid),
            ("workspace_id", Uuid),
            ("kind", Text),
            ("name", Text),
            ("role", Text),
            ("token_hash", Bytes),
            ("created_at_ms", Int),
            ("last_seen_at_ms", Int),
            ("removed_at_ms", Int),
        ],
        key: &[0],
    },
    Table {
        name: "sign_in_links",
        columns: &[("hash", Bytes), ("workspace_id", Uuid), ("principal_id", Uuid), ("expires_at_ms", Int)],
        key: &[0],
    },
    Table {
        name: "sessions",
        columns: &[
            ("hash", Bytes),
            ("workspace_id", Uuid),
            ("principal_id", Uuid),
            ("created_at_ms", Int),
            ("last_seen_at_ms", Int),
        ],
        key: &[0],
    },
    Table {
        name: "invites",
        columns: &[
            ("id", Uuid),
            ("workspace_id", Uuid),
            ("hash", Bytes),
            ("role", Text),
            ("created_by", Uuid),
            ("created_at_ms", Int),
            ("expires_at_ms", Int),
        ],
        key: &[0],
    },
    Table {
        name: "prompts",
        columns: &[
            ("id", Uuid),
            ("workspace_id", Uuid),
            ("owner_id", Uuid),
            ("slug", Text),
            ("title", Text),
            ("visibility", Text),
            ("created_at_ms", Int),
            ("updated_at_ms", Int),
            ("deleted_at_ms", Int),
            ("deleted_by", Uuid),
            ("lineage", Uuid),
            ("head", Int),
            ("revision", Int),
            ("runs", Int),
            ("snapshot_seq", Int),
            ("snapshot_seq_older", Int),
            ("tail_bytes", Int),
        ],
        key: &[0],
    },
    Table {
        name: "slugs",
        columns: &[("workspace_id", Uuid), ("slug", Text), ("prompt_id", Uuid)],
        key: &[0, 1],
    },
    Table {
        name: "room_updates",
        columns: &[("prompt_id", Uuid), ("seq", Int), ("workspace_id", Uuid), ("bytes", Bytes)],
        key: &[0, 1],
    },
    Table {
        name: "room_snapshots",
        columns: &[
            ("prompt_id", Uuid),
            ("seq", Int),
            ("workspace_id", Uuid),
            ("bytes", Bytes),
            ("sha256", Bytes),
        ],
        key: &[0, 1],
    },
    Table {
        name: "nodes",
        columns: &[
            ("id", Uuid),
            ("name", Text),
            ("beat", Int),
            ("started_at_ms", Int),
            ("last_at_ms", Int),
            ("stopped_at_ms", Int),
        ],
        key: &[0],
    },
    Table {
        name: "runs",
        columns: &[
            ("id", Uuid),
            ("workspace_id", Uuid),
            ("prompt_id", Uuid),
            ("number", Int),
            ("command_id", Uuid),
            ("principal_id", Uuid),
            ("origin", Text),
            ("parent_id", Uuid),
            ("variant", Text),
            ("model", Text),
            ("parameters_json", Text),
            ("request_json", Text),
            ("source_json", Text),
            ("hash", Text),
            ("state", Text),
            ("epoch", Int),
            ("stored", Int),
            ("node_id", Uuid),
            ("cancel_requested_by", Uuid),
            ("created_at_ms", Int),
            ("admitted_at_ms", Int),
            ("first_token_at_ms", Int),
            ("moved_at_ms", Int),
            ("ended_at_ms", Int),
            ("stop_reason", Text),
            ("stop_sequence", Text),
            ("stopped_by", Uuid),
            ("problem_json", Text),
        ],
        key: &[2, 3],
    },
    Table {
        name: "run_claims",
        columns: &[
            ("run_id", Uuid),
            ("epoch", Int),
            ("workspace_id", Uuid),
            ("start", Int),
            ("moved_at_ms", Int),
        ],
        key: &[0, 1],
    },
    Table {
        name: "run_attempts",
        columns: &[
            ("id", Uuid),
            ("workspace_id", Uuid),
            ("run_id", Uuid),
            ("epoch", Int),
            ("node_id", Uuid),
            ("start", Int),
            ("price_json", Text),
            ("admitted_at_ms", Int),
            ("settled_at_ms", Int),
            ("input_tokens", Int),
            ("cached_input_tokens", Int),
            ("output_tokens", Int),
            ("reasoning_tokens", Int),
            ("estimated", Int),
            ("cost_nanos", Int),
        ],
        key: &[0],
    },
    Table {
        name: "run_chunks",
        columns: &[
            ("run_id", Uuid),
            ("start", Int),
            ("workspace_id", Uuid),
            ("epoch", Int),
            ("block", Int),
            ("kind", Int),
            ("bytes", Bytes),
        ],
        key: &[0, 1],
    },
    Table {
        name: "run_outputs",
        columns: &[
            ("run_id", Uuid),
            ("start", Int),
            ("workspace_id", Uuid),
            ("block", Int),
            ("kind", Int),
            ("bytes", Bytes),
        ],
        key: &[0, 1],
    },
];
