//! All lanes of this server, and the models that can be reached through them.

use super::{
    ConfigProblem, LaneInfo, ModelError, ModelEvent, ModelsConfig, anthropic,
    anthropic::AnthropicDecoder,
    catalog::{Facts, Provider},
    decoder::Decoder,
    demo::{Demo, DemoStream},
    http::{Clients, Endpoint, Wire},
    lane::{Lane, LaneKind},
    openai,
    openai::OpenAiDecoder,
    stream::HttpStream,
    watch::Patience,
};
use crate::domain::ledger::Price;
use crate::domain::prompt::ModelRequest;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every model that this server can run.
pub struct Models {
    lanes: Vec<Arc<Lane>>,
}

/// A model as it is shown to people; `id` is `lane/model`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    pub id: String,
    pub label: String,
    pub lane: String,
    pub provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The parameters that it accepts; others are never sent.
    pub parameters: Vec<&'static str>,
    /// Whether it is known to go on from a partial answer.
    pub prefill: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<&'static str>,
}

impl Models {
    /// # Errors
    /// One line, if a lane cannot work as it is configured; nothing is contacted.
    pub fn open(config: ModelsConfig) -> Result<Models, ConfigProblem> {
        let mut clients = Clients::default();
        let mut lanes = Vec::new();
        if config.demo {
            lanes.push(Lane::demo(config.demo_pace_ms));
        }
        if let Some(provider) = config.anthropic {
            lanes.push(Lane::built_in(&mut clients, Provider::Anthropic, provider)?);
        }
        if let Some(provider) = config.openai {
            lanes.push(Lane::built_in(&mut clients, Provider::OpenAi, provider)?);
        }
        for lane in config.lanes {
            lanes.push(Lane::compatible(&mut clients, lane)?);
        }
        if let Some(lane) = lanes
            .iter()
            .enumerate()
            .find_map(|(at, lane)| lanes[..at].iter().find(|other| other.info.name == lane.info.name))
        {
            return Err(ConfigProblem(format!("there are two lanes with the name {:?}", lane.info.name)));
        }
        Ok(Models { lanes: lanes.into_iter().map(Arc::new).collect() })
    }

    /// Models that a test answers for, under the names of the demo's.
    #[cfg(test)]
    pub(crate) fn scripted(lanes: Vec<LaneInfo>, upstream: Arc<dyn super::scripted::Upstream>) -> Models {
        let lane = |info| Arc::new(Lane::scripted(info, upstream.clone()));
        Models { lanes: lanes.into_iter().map(lane).collect() }
    }

    /// All models, lane by lane; asks endpoints that have no list, at most once a minute and for three seconds.
    pub async fn list(&self) -> Vec<ModelInfo> {
        let lists = join_all(self.lanes.iter().map(|lane| lane.list())).await;
        lists.into_iter().flatten().collect()
    }

    /// The model with this id. Where a lane has no list of its own any name is taken: asking first would delay
    /// the first token, and the endpoint says itself what it does not know.
    pub fn find(&self, id: &str) -> Option<Model> {
        let (lane, name) = id.split_once('/')?;
        let lane = self.lanes.iter().find(|candidate| candidate.info.name == lane)?;
        let facts = lane.facts(name)?;
        Some(Model {
            info: lane.describe(name, &facts),
            name: name.to_owned(),
            facts,
            lane: Arc::clone(lane),
        })
    }

    /// How many models a lane offers, asked of its endpoint now, for at most a few seconds.
    ///
    /// # Errors
    /// What is wrong with its address, its key, or the endpoint.
    pub async fn probe(&self, lane: &LaneInfo) -> Result<usize, ModelError> {
        match self.lanes.iter().find(|candidate| candidate.info.name == lane.name) {
            Some(lane) => lane.probe().await,
            None => Ok(0),
        }
    }

    pub fn lanes(&self) -> impl Iterator<Item = &LaneInfo> {
        self.lanes.iter().map(|lane| &lane.info)
    }
}

/// One model, ready to be called; cheap to clone.
#[derive(Clone)]
pub struct Model {
    pub info: ModelInfo,
    name: String,
    facts: Facts,
    lane: Arc<Lane>,
}

impl Model {
    pub fn lane(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// Exactly what `start` sends, without the key.
    pub fn wire_request(&self, request: &ModelRequest) -> Value {
        match &self.lane.kind {
            LaneKind::Demo { .. } => json!({ "method": "DEMO", "url": self.info.id, "body": request }),
            #[cfg(test)]
            LaneKind::Scripted(_) => json!({ "method": "TEST", "url": self.info.id, "body": request }),
            LaneKind::Http(lane) => {
                let endpoint = &lane.endpoint;
                endpoint.shown(path(endpoint), self.body(endpoint, request))
            }
        }
    }

    /// Resolves when the head of the response has arrived. `request.prefill` must not end in white space: some
    /// providers refuse that.
    ///
    /// # Errors
    /// Whatever kept the answer from beginning; nothing was received then.
    pub async fn start(&self, request: &ModelRequest) -> Result<ModelStream, ModelError> {
        let (endpoint, patience) = match &self.lane.kind {
            LaneKind::Demo { pace_ms } => {
                let demo = Demo::parse(&self.name).unwrap_or(Demo::Markdown);
                let stream = DemoStream::start(demo, request, *pace_ms)?;
                return Ok(ModelStream(StreamKind::Demo(Box::new(stream))));
            }
            #[cfg(test)]
            LaneKind::Scripted(upstream) => {
                return Ok(ModelStream(StreamKind::Scripted(upstream.call(request).await?)));
            }
            LaneKind::Http(lane) if self.facts.reasoning => (&lane.endpoint, Patience::REASONING),
            LaneKind::Http(lane) => (&lane.endpoint, Patience::USUAL),
        };
        let body = self.body(endpoint, request);
        let response = endpoint.post(path(endpoint), &body, patience.content).await?;
        let provider = endpoint.provider();
        let decoder = match endpoint.wire() {
            Wire::Anthropic => Decoder::Anthropic(AnthropicDecoder::new(provider)),
            Wire::OpenAi => Decoder::OpenAi(OpenAiDecoder::new(provider)),
        };
        let stream = HttpStream::new(response, decoder, patience, provider, endpoint.key());
        Ok(ModelStream(StreamKind::Http(Box::new(stream))))
    }

    fn body(&self, endpoint: &Endpoint, request: &ModelRequest) -> Value {
        match endpoint.wire() {
            Wire::Anthropic => anthropic::body(&self.name, &self.facts, request),
            Wire::OpenAi => openai::body(&self.name, &self.facts, self.lane.info.prefill, request),
        }
    }
}

/// An answer as it arrives. Dropping it closes the upstream connection at once.
pub struct ModelStream(StreamKind);

enum StreamKind {
    Demo(Box<DemoStream>),
    Http(Box<HttpStream>),
    #[cfg(test)]
    Scripted(Box<dyn super::scripted::Answer>),
}

impl ModelStream {
    /// The next event; a normal end is one `Stop` and then `None`, anything else one error and then `None`.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        match &mut self.0 {
            StreamKind::Demo(stream) => stream.next().await,
            StreamKind::Http(stream) => stream.next().await,
            #[cfg(test)]
            StreamKind::Scripted(answer) => answer.next().await,
        }
    }
}

fn path(endpoint: &Endpoint) -> &'static str {
    match endpoint.wire() {
        Wire::Anthropic => anthropic::PATH,
        Wire::OpenAi => openai::PATH,
    }
}
