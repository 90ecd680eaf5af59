//! The HTTP API as a program sees it.

use crate::http_client;
use anyhow::{Context, Result, ensure};
use promptroom_protocol::{BlockKind, RunId, RunSummary};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The API of one server, with one token.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    pub fn new(base: String, token: String) -> Self {
        Api { base, token, client: http_client() }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request below `/api/v1` that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/api/v1{path}", self.base));
        request.bearer_auth(&self.token).timeout(ANSWER_LIMIT)
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        json_of(self.request(Method::GET, path).send().await?).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        json_of(self.request(Method::POST, path).json(body).send().await?).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        json_of(self.request(Method::PATCH, path).json(body).send().await?).await
    }

    pub async fn delete(&self, path: &str) -> Result<Response> {
        Ok(self.request(Method::DELETE, path).send().await?)
    }

    /// A new prompt that everybody in the workspace sees and that can be run; returns its id.
    pub async fn create_prompt(&self, title: &str) -> Result<String> {
        let content = json!({"variants": [{"messages": [{"role": "user", "text": "Write about tea."}]}]});
        let body = json!({"title": title, "visibility": "workspace", "content": content});
        let prompt = self.post("/prompts", &body).await?;
        Ok(prompt["id"].as_str().context("a prompt has an id")?.to_owned())
    }

    pub async fn run(&self, prompt: &str, model: &str) -> Result<RunSummary> {
        let body = json!({"overrides": {"model": model}});
        let answer = self.post(&format!("/prompts/{prompt}/runs"), &body).await?;
        Ok(serde_json::from_value(answer)?)
    }

    pub async fn summary(&self, run: RunId) -> Result<RunSummary> {
        Ok(serde_json::from_value(self.get(&format!("/runs/{run}")).await?["run"].take())?)
    }

    /// What is stored of a run's output, by blocks.
    pub async fn stored_blocks(&self, run: RunId) -> Result<Vec<(u32, BlockKind, String)>> {
        let mut record = self.get(&format!("/runs/{run}")).await?;
        let blocks = record["blocks"].take();
        let blocks = blocks.as_array().context("a run has blocks")?;
        blocks.iter().map(block).collect()
    }
}

fn block(value: &Value) -> Result<(u32, BlockKind, String)> {
    let number = value["block"].as_u64().context("a block has a number")?;
    let kind = serde_json::from_value(value["kind"].clone())?;
    Ok((u32::try_from(number)?, kind, value["text"].as_str().context("a block has text")?.to_owned()))
}

async fn json_of(response: Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{status}: {text}");
    Ok(serde_json::from_str(&text)?)
}
