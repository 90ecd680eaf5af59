//! The names of topics in Redis. They begin with the workspace, so that several may share one Redis.

use crate::bus::Topic;
use promptroom_protocol::PromptId;
use uuid::Uuid;

pub(super) struct Channels {
    everybody: String,
    room: String,
}

impl Channels {
    pub(super) fn of(workspace: Uuid) -> Channels {
        Channels {
            everybody: format!("promptroom:{workspace}:everybody"),
            room: format!("promptroom:{workspace}:room:"),
        }
    }

    /// In a cluster the whole name decides where it lives, so rooms are spread over the shards.
    pub(super) fn name(&self, topic: Topic) -> String {
        match topic {
            Topic::Workspace => self.everybody.clone(),
            Topic::Room(prompt) => format!("{}{prompt}", self.room),
        }
    }

    pub(super) fn topic(&self, name: &[u8]) -> Option<Topic> {
        if name == self.everybody.as_bytes() {
            return Some(Topic::Workspace);
        }
        let prompt = name.strip_prefix(self.room.as_bytes())?;
        Some(Topic::Room(PromptId(Uuid::try_parse_ascii(prompt).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_its_topic_in_its_own_workspace_only() {
        let (here, elsewhere) = (Channels::of(Uuid::from_u128(1)), Channels::of(Uuid::from_u128(2)));
        for topic in [Topic::Workspace, Topic::Room(PromptId(Uuid::from_u128(3)))] {
            let name = here.name(topic);
            assert_eq!(here.topic(name.as_bytes()), Some(topic));
            assert_eq!(elsewhere.topic(name.as_bytes()), None);
        }
        assert_eq!(here.topic(b"promptroom:"), None);
        assert_eq!(here.topic(&[0xff; 80]), None);
    }
}
