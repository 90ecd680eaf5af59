//! A lane: one endpoint with one key, and what is known of its models.

use super::{
    ConfigProblem, LaneInfo, LaneModel, ModelError, ModelErrorKind, ModelInfo, PrefillStyle, anthropic,
    catalog::{self, Facts, Provider},
    demo::Demo,
    http::{Clients, Endpoint, Wire},
    lane_config::{CancelBehaviour, LaneConfig, ProviderConfig},
    listing::{self, Listed, Listing},
    openai,
};

const DEMO_SLOTS: u32 = 64;
const PROVIDER_SLOTS: u32 = 16;

pub(super) struct Lane {
    pub(super) info: LaneInfo,
    pub(super) kind: LaneKind,
}

pub(super) enum LaneKind {
    Demo {
        pace_ms: Option<u64>,
    },
    Http(Box<HttpLane>),
    #[cfg(test)]
    Scripted(std::sync::Arc<dyn super::scripted::Upstream>),
}

pub(super) struct HttpLane {
    pub(super) endpoint: Endpoint,
    /// Whose price list holds here; nobody's on a lane of one's own.
    prices_of: Option<Provider>,
    /// Empty: ask the endpoint.
    models: Vec<LaneModel>,
    listing: Listing,
}

impl Lane {
    pub(super) fn demo(pace_ms: Option<u64>) -> Lane {
        let info = LaneInfo {
            name: "demo".to_owned(),
            provider: "Demo".to_owned(),
            slots: DEMO_SLOTS,
            cancel: CancelBehaviour::Stops,
            prefill: PrefillStyle::AssistantMessage,
        };
        Lane { info, kind: LaneKind::Demo { pace_ms } }
    }

    #[cfg(test)]
    pub(super) fn scripted(info: LaneInfo, upstream: std::sync::Arc<dyn super::scripted::Upstream>) -> Lane {
        Lane { info, kind: LaneKind::Scripted(upstream) }
    }

    pub(super) fn built_in(
        clients: &mut Clients,
        provider: Provider,
        config: ProviderConfig,
    ) -> Result<Lane, ConfigProblem> {
        let (name, label, wire, base_url, prefill) = match provider {
            Provider::Anthropic => (
                "anthropic",
                "Anthropic",
                Wire::Anthropic,
                anthropic::BASE_URL,
                PrefillStyle::AssistantMessage,
            ),
            Provider::OpenAi => ("openai", "OpenAI", Wire::OpenAi, openai::BASE_URL, PrefillStyle::None),
        };
        let base_url = config.base_url.as_deref().unwrap_or(base_url);
        let endpoint = Endpoint::new(clients, wire, label, base_url, Some(config.key))?;
        let info = LaneInfo {
            name: name.to_owned(),
            provider: label.to_owned(),
            slots: PROVIDER_SLOTS,
            cancel: CancelBehaviour::Stops,
            prefill,
        };
        Ok(Lane::over_http(info, endpoint, Some(provider), Vec::new()))
    }

    pub(super) fn compatible(clients: &mut Clients, config: LaneConfig) -> Result<Lane, ConfigProblem> {
        let endpoint = Endpoint::new(clients, Wire::OpenAi, &config.name, &config.base_url, config.key)?;
        let info = LaneInfo {
            provider: config.name.clone(),
            name: config.name,
            slots: config.slots,
            cancel: config.cancel,
            prefill: config.prefill,
        };
        Ok(Lane::over_http(info, endpoint, None, config.models))
    }

    fn over_http(
        info: LaneInfo,
        endpoint: Endpoint,
        prices_of: Option<Provider>,
        models: Vec<LaneModel>,
    ) -> Lane {
        let lane = HttpLane { endpoint, prices_of, models, listing: Listing::default() };
        Lane { info, kind: LaneKind::Http(Box::new(lane)) }
    }

    /// What is known of a model of this lane, or `None` if the lane has no such model.
    pub(super) fn facts(&self, name: &str) -> Option<Facts> {
        let LaneKind::Http(lane) = &self.kind else { return Demo::parse(name).map(Demo::facts) };
        if let Some(provider) = lane.prices_of {
            return listing::is_name(name).then(|| catalog::facts(provider, name));
        }
        let configured = lane.models.iter().find(|model| model.name == name);
        if configured.is_none() && !(lane.models.is_empty() && listing::is_name(name)) {
            return None;
        }
        Some(self.compatible_facts(name, configured))
    }

    fn compatible_facts(&self, name: &str, configured: Option<&LaneModel>) -> Facts {
        Facts {
            label: configured.and_then(|model| model.label.clone()).unwrap_or_else(|| short(name).to_owned()),
            context_tokens: configured.and_then(|model| model.context_tokens),
            output_tokens_max: configured.and_then(|model| model.output_tokens_max),
            price: configured.and_then(|model| model.price.clone()),
            parameters: catalog::parameters_of(name),
            prefill: self.info.prefill != PrefillStyle::None,
            reasoning: catalog::is_reasoning(name),
            notice: None,
        }
    }

    /// All models of the lane; asks the endpoint if nothing else is known, for a bounded time.
    pub(super) async fn list(&self) -> Vec<ModelInfo> {
        match &self.kind {
            #[cfg(test)]
            LaneKind::Scripted(_) => Vec::new(),
            LaneKind::Demo { .. } => {
                Demo::ALL.iter().map(|demo| self.describe(demo.name(), &demo.facts())).collect()
            }
            LaneKind::Http(lane) if lane.models.is_empty() => self.ask(lane).await,
            LaneKind::Http(lane) => {
                let names = lane.models.iter().map(|model| model.name.as_str());
                names.filter_map(|name| Some(self.describe(name, &self.facts(name)?))).collect()
            }
        }
    }

    /// Asks the endpoint now; the number of models that the lane offers.
    pub(super) async fn probe(&self) -> Result<usize, ModelError> {
        let LaneKind::Http(lane) = &self.kind else { return Ok(Demo::ALL.len()) };
        match listing::ask(&lane.endpoint).await {
            Ok(listed) if lane.models.is_empty() => Ok(listed.len()),
            // A lane with a list of its own need not have one at its endpoint.
            Err(error) if error.kind != ModelErrorKind::NotFound || lane.models.is_empty() => Err(error),
            _ => Ok(lane.models.len()),
        }
    }

    async fn ask(&self, lane: &HttpLane) -> Vec<ModelInfo> {
        let mut listed = lane.listing.read(&lane.endpoint).await;
        if lane.prices_of == Some(Provider::OpenAi) {
            listed.retain(|entry| listing::chats(&entry.name));
        }
        let mut notice = None;
        if let Some(provider) = lane.prices_of
            && listed.is_empty()
        {
            listed = listing::known(provider);
            notice = Some("The provider did not say which models it has; these are known ones.");
        }
        listed.iter().filter_map(|entry| self.describe_listed(entry, notice)).collect()
    }

    fn describe_listed(&self, entry: &Listed, notice: Option<&'static str>) -> Option<ModelInfo> {
        let mut facts = self.facts(&entry.name)?;
        facts.context_tokens = facts.context_tokens.or(entry.context_tokens);
        if let Some(label) = entry.label.as_ref().filter(|_| facts.label == entry.name) {
            facts.label.clone_from(label);
        }
        facts.notice = facts.notice.or(notice);
        Some(self.describe(&entry.name, &facts))
    }

    pub(super) fn describe(&self, name: &str, facts: &Facts) -> ModelInfo {
        ModelInfo {
            id: format!("{}/{name}", self.info.name),
            label: facts.label.clone(),
            lane: self.info.name.clone(),
            provider: self.info.provider.clone(),
            context_tokens: facts.context_tokens,
            output_tokens_max: facts.output_tokens_max,
            price: facts.price.clone(),
            parameters: facts.parameters.to_vec(),
            prefill: facts.prefill,
            notice: facts.notice,
        }
    }
}

/// llama.cpp calls a model by the path of its file.
fn short(name: &str) -> &str {
    match name.strip_suffix(".gguf") {
        Some(path) => path.rsplit('/').next().unwrap_or(path),
        None => name,
    }
}
