//! Identifiers, one type each, so that a run's id can never be taken for a prompt's.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// A prompt, and so its room.
    PromptId
);
id!(
    /// One life of a prompt's history; two histories with different lineages must never be merged.
    LineageId
);
id!(
    /// A run; never used twice, Regenerate makes a new one.
    RunId
);
id!(
    /// Whoever acts: a person or an API token.
    MemberId
);
id!(
    /// Given by the client, so that a command repeated after a reconnect does nothing twice.
    CommandId
);
id!(
    /// Names one request, one socket or one run in logs and in what people are shown.
    RequestId
);

impl From<RunId> for RequestId {
    /// Every log line of a run names it, so that is what its failure is found by.
    fn from(run: RunId) -> Self {
        RequestId(run.0)
    }
}
