//! Asking an endpoint which models it has.

use super::{
    ModelError, catalog,
    catalog::Provider,
    decoder::malformed,
    http::{Endpoint, Wire},
};
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

const LIMIT: Duration = Duration::from_secs(3);
const BYTES_MAX: usize = 2 << 20;
const MODELS_MAX: usize = 1_000;
const FRESH: Duration = Duration::from_secs(60);
/// An endpoint that did not answer is asked again sooner, but not by every reader of the list.
const FRESH_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What an endpoint said, kept for a minute.
#[derive(Default)]
pub(super) struct Listing {
    /// Held while asking, so that readers who come meanwhile wait for one answer instead of asking too.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    until: Instant,
    listed: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) label: Option<String>,
    pub(super) context_tokens: Option<u64>,
}

impl Listing {
    /// Empty if the endpoint cannot say; never waits longer than three seconds for it.
    pub(super) async fn read(&self, endpoint: &Endpoint) -> Vec<Listed> {
        let mut kept = self.kept.lock().await;
        if let Some(fresh) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return fresh.listed.clone();
        }
        let (listed, fresh) = match ask(endpoint).await {
            Ok(listed) => (listed, FRESH),
            Err(_) => (kept.take().map(|old| old.listed).unwrap_or_default(), FRESH_AFTER_FAILURE),
        };
        *kept = Some(Kept { until: Instant::now() + fresh, listed: listed.clone() });
        listed
    }
}

/// Asks now, whatever is kept.
pub(super) async fn ask(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let path = match endpoint.wire() {
        Wire::Anthropic => "/v1/models?limit=1000",
        Wire::OpenAi => "/models",
    };
    let body = endpoint.get(path, LIMIT, BYTES_MAX).await?;
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|error| malformed(endpoint.provider(), &error))?;
    let names = answer.data.into_iter().filter(|entry| is_name(&entry.id));
    Ok(names.take(MODELS_MAX).map(Listed::from).collect())
}

/// The known models of a provider, for when it cannot be asked.
pub(super) fn known(provider: Provider) -> Vec<Listed> {
    let listed = |name: &str| Listed { name: name.to_owned(), label: None, context_tokens: None };
    catalog::known(provider).map(listed).collect()
}

/// OpenAI lists everything that it sells; a prompt needs something that chats.
pub(super) fn chats(name: &str) -> bool {
    const OTHERS: [&str; 18] = [
        "embedding",
        "tts",
        "whisper",
        "dall-e",
        "image",
        "moderation",
        "realtime",
        "audio",
        "transcribe",
        "search",
        "codex",
        "davinci",
        "babbage",
        "sora",
        "instruct",
        "deep-research",
        "computer-use",
        "-pro",
    ];
    !OTHERS.iter().any(|other| name.contains(other))
}

/// A name that can stand in a URL, a log and a table.
pub(super) fn is_name(name: &str) -> bool {
    (1..=200).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    display_name: Option<String>,
    /// vLLM's name for the size of the context.
    #[serde(default)]
    max_model_len: Option<u64>,
    #[serde(default)]
    meta: Option<Meta>,
}

/// llama.cpp says there how much context the model was trained with.
#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    n_ctx_train: Option<u64>,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Listed {
        let trained = entry.meta.and_then(|meta| meta.n_ctx_train);
        Listed {
            name: entry.id,
            label: entry.display_name.filter(|label| !label.is_empty()),
            context_tokens: entry.max_model_len.or(trained),
        }
    }
}
