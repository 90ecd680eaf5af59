//! The double seen from outside, over a real connection.

use super::{Upstream, numbered_text, stream::StreamEnd};
use crate::{events::Events, http::Api};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

async fn ask(upstream: &Upstream, model: &str) -> Result<Events> {
    ask_to_continue(upstream, model, None).await
}

async fn ask_to_continue(upstream: &Upstream, model: &str, begun: Option<&str>) -> Result<Events> {
    let api = Api { address: upstream.address(), token: None };
    let mut messages = vec![json!({"role": "user", "content": "two words"})];
    messages.extend(begun.map(|text| json!({"role": "assistant", "content": text})));
    let body = json!({
        "model": model, "stream": true, "stream_options": {"include_usage": true}, "messages": messages,
    });
    Events::read(api.request(Method::POST, "/v1/chat/completions", &[], Some(&body)).await?)
}

async fn read(events: &mut Events) -> Result<(String, Vec<Value>)> {
    let (mut text, mut rest) = (String::new(), Vec::new());
    while let Some(event) = events.next().await? {
        if event.data == "[DONE]" {
            rest.push(json!("done"));
            continue;
        }
        let chunk: Value = serde_json::from_str(&event.data)?;
        match chunk["choices"][0]["delta"]["content"].as_str() {
            Some(token) => text.push_str(token),
            None => rest.push(chunk),
        }
    }
    Ok((text, rest))
}

#[tokio::test]
async fn numbered_tokens_come_whole_with_reason_and_usage() {
    let upstream = Upstream::start().await.unwrap();
    let mut events = ask(&upstream, "numbered-3000").await.unwrap();
    let (text, rest) = read(&mut events).await.unwrap();
    assert_eq!(text, numbered_text(3000));
    assert_eq!(rest[0]["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        rest[1]["usage"],
        json!({"prompt_tokens": 2, "completion_tokens": 3000, "total_tokens": 3002})
    );
    assert_eq!(rest[2], "done");
    let counts = upstream.wait_for(LIMIT, |counts| counts.open == 0).await.unwrap();
    assert_eq!((counts.finished, counts.closed_by_client, counts.cut), (1, 0, 0));
}

#[tokio::test]
async fn an_answer_that_has_begun_goes_on_where_it_is() {
    let upstream = Upstream::start().await.unwrap();
    let whole = numbered_text(30);
    for begun in [8, 15, 16, 17] {
        let mut events = ask_to_continue(&upstream, "numbered-30", Some(&whole[..begun])).await.unwrap();
        let (rest, ends) = read(&mut events).await.unwrap();
        assert_eq!(rest, whole[begun..]);
        assert_eq!(ends[1]["usage"]["completion_tokens"], 30 - begun / 8);
    }
}

#[tokio::test]
async fn a_reader_that_leaves_is_noticed_at_once() {
    let upstream = Upstream::start().await.unwrap();
    let mut events = ask(&upstream, "paced-1-400").await.unwrap();
    events.next().await.unwrap().unwrap();
    let left_at = crate::clock::Stamp::now();
    drop(events);
    upstream.wait_for(LIMIT, |counts| counts.closed_by_client == 1).await.unwrap();
    let record = upstream.records().pop().unwrap();
    assert_eq!((record.end, record.tokens), (StreamEnd::ClosedByClient, 1));
    assert!(record.ended_at.since(left_at) < Duration::from_millis(500), "before the next token was due");
}

#[tokio::test]
async fn a_cut_breaks_the_connection_and_an_unfinished_answer_gives_no_reason() {
    let upstream = Upstream::start().await.unwrap();
    assert!(read(&mut ask(&upstream, "cut-after-20").await.unwrap()).await.is_err());
    let (text, rest) = read(&mut ask(&upstream, "unfinished-20").await.unwrap()).await.unwrap();
    assert_eq!((text, rest), (numbered_text(20), vec![]));
    upstream.wait_for(LIMIT, |counts| counts.cut == 2).await.unwrap();
}

#[tokio::test]
async fn a_paced_stream_keeps_its_pace() {
    let upstream = Upstream::start().await.unwrap();
    let started = std::time::Instant::now();
    let (text, _) = read(&mut ask(&upstream, "paced-100-21").await.unwrap()).await.unwrap();
    assert_eq!(text, numbered_text(21));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_scripted_refusal_has_its_status() {
    let upstream = Upstream::start().await.unwrap();
    let error = ask(&upstream, "fail-429").await.unwrap_err();
    assert!(error.to_string().contains("429"), "{error}");
    assert_eq!(upstream.counts().opened, 0);
}
