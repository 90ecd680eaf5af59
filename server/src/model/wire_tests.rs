//! What goes over the connection besides the answer: requests, refusals, and hanging up.

use super::{
    ConfigProblem, ModelErrorKind, Models, ModelsConfig, ProviderConfig, Secret,
    provider_double::{Answer, Double, KEY, asking, told},
};
use promptroom_protocol::StopReason;
use serde_json::{Value, json};
use std::time::Duration;

const ANTHROPIC: &str = "anthropic/claude-sonnet-4-5";
const OPENAI: &str = "openai/gpt-4.1-mini";
const TEXT: &str = include_str!("recorded/openai_text.txt");

async fn refusal(model: &str, answer: Answer) -> super::ModelError {
    let double = Double::start(vec![answer]).await;
    let Err(error) = double.model(model).start(&asking("Hello")).await else { panic!("it was not refused") };
    assert!(!error.message.contains(KEY) && error.message.chars().count() <= 500, "{}", error.message);
    assert_eq!(error.code, error.kind.code());
    error
}

/// The head and the JSON body of what was sent.
async fn sent(model: &str, request: &crate::domain::prompt::ModelRequest) -> (String, Value) {
    let mut double = Double::start(vec![Answer::stream(TEXT, 100)]).await;
    let model = double.model(model);
    let _ = model.start(request).await.unwrap();
    let request_text = double.requests.recv().await.unwrap();
    let (head, body) = request_text.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let shown = model.wire_request(request);
    assert_eq!(shown["body"], body, "what is shown is what is sent");
    assert!(!shown.to_string().contains(KEY));
    (head.to_owned(), body)
}

#[tokio::test]
async fn a_dropped_stream_closes_the_upstream_connection_at_once() {
    for (model, events) in [(OPENAI, TEXT), (ANTHROPIC, include_str!("recorded/anthropic_text.txt"))] {
        let half = &events[..events.find("wörld").unwrap()];
        let mut double = Double::start(vec![Answer::open_stream(half, 100).held()]).await;
        let mut stream = double.model(model).start(&asking("Hello")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        assert!(double.closed.try_recv().is_err());
        drop(stream);
        let closed = tokio::time::timeout(Duration::from_millis(100), double.closed.recv()).await;
        assert_eq!(closed, Ok(Some(())));
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_closes_the_upstream_connection_at_once() {
    let mut double = Double::start(vec![Answer { pieces: Vec::new(), hold: true }]).await;
    let model = double.model(OPENAI);
    let request = asking("Hello");
    tokio::select! {
        _ = model.start(&request) => panic!("it was not answered"),
        received = double.requests.recv() => assert!(received.is_some()),
    }
    let closed = tokio::time::timeout(Duration::from_millis(100), double.closed.recv()).await;
    assert_eq!(closed, Ok(Some(())));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let double = Double::start(vec![Answer::stream(TEXT, 1)]).await;
    let mut stream = double.model(OPENAI).start(&asking("Hello")).await.unwrap();
    let mut events = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            () = tokio::task::yield_now() => continue,
            next = stream.next() => next,
        };
        let Some(event) = next else { break };
        events.push(event.unwrap());
    }
    assert_eq!(events.len(), 4, "two texts, usage, stop: {events:?}");
}

#[tokio::test]
async fn a_finished_answer_does_not_wait_for_the_end_of_the_connection() {
    let double = Double::start(vec![Answer::open_stream(TEXT, 100).held()]).await;
    let stream = double.model(OPENAI).start(&asking("Hello")).await.unwrap();
    assert_eq!(told(stream).await.stop, Some((StopReason::End, None)));
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let half = &TEXT[..TEXT.find("wörld").unwrap()];
    let mut double = Double::start(vec![Answer::open_stream(half, 100).held()]).await;
    let mut stream = double.model(OPENAI).start(&asking("Hello")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    tokio::time::pause();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ModelErrorKind::Stalled, "OpenAI has sent nothing for 60 seconds.")
    );
    assert_eq!(double.closed.recv().await, Some(()), "the connection is closed before the stream is dropped");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up() {
    let mut double = Double::start(vec![Answer { pieces: Vec::new(), hold: true }]).await;
    let (model, request) = (double.model(OPENAI), asking("Hello"));
    let mut start = std::pin::pin!(model.start(&request));
    tokio::select! {
        _ = &mut start => panic!("it was not answered"),
        received = double.requests.recv() => assert!(received.is_some()),
    }
    tokio::time::pause();
    let Err(error) = start.await else { panic!("it was not answered") };
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ModelErrorKind::Stalled, "OpenAI did not answer within 180 seconds.")
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let too_fast = "{\"error\":{\"message\":\"Rate limit reached\",\"type\":\"requests\"}}";
    let error = refusal(
        OPENAI,
        Answer::plain("429 Too Many Requests\r\nretry-after: 7\r\nx-request-id: req_1", too_fast),
    )
    .await;
    assert_eq!(
        (error.kind, error.status, error.retry_after_ms),
        (ModelErrorKind::RateLimited, Some(429), Some(7_000))
    );
    assert_eq!(error.message, "OpenAI asks us to slow down (429): Rate limit reached (its request req_1)");

    let overloaded =
        "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
    let error = refusal(ANTHROPIC, Answer::plain("529 Overloaded", overloaded)).await;
    assert_eq!(
        (error.kind, error.status, error.retry_after_ms),
        (ModelErrorKind::Overloaded, Some(529), None)
    );

    let bad = "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"max_tokens: too large\"}}";
    let error = refusal(ANTHROPIC, Answer::plain("400 Bad Request", bad)).await;
    assert_eq!(error.message, "Anthropic refused the request (400): max_tokens: too large");

    let broke =
        "{\"error\":{\"message\":\"You exceeded your current quota\",\"code\":\"insufficient_quota\"}}";
    let error = refusal(OPENAI, Answer::plain("429 Too Many Requests", broke)).await;
    assert!(!error.kind.is_transient());

    for (head, kind) in [
        ("401 Unauthorized", ModelErrorKind::Unauthorized),
        ("403 Forbidden", ModelErrorKind::Unauthorized),
        ("404 Not Found", ModelErrorKind::NotFound),
        ("413 Too Large", ModelErrorKind::BadRequest),
        ("500 Internal Server Error", ModelErrorKind::Provider),
        ("503 Service Unavailable", ModelErrorKind::Overloaded),
    ] {
        assert_eq!(refusal(OPENAI, Answer::plain(head, "")).await.kind, kind, "{head}");
    }
}

#[tokio::test]
async fn a_key_that_the_provider_repeats_is_not_shown() {
    let body = format!("{{\"error\":{{\"message\":\"Incorrect API key: {KEY}\"}}}}");
    let error = refusal(OPENAI, Answer::plain("401 Unauthorized", &body)).await;
    assert_eq!(error.message, "OpenAI refused the key (401): Incorrect API key: •••");
    let events = format!("data: {{\"error\":{{\"message\":\"bad {KEY}\"}}}}\n\n");
    let double = Double::start(vec![Answer::stream(&events, 100)]).await;
    let told = told(double.model(OPENAI).start(&asking("Hello")).await.unwrap()).await;
    assert_eq!(told.error.unwrap().message, "OpenAI broke off: bad •••");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Double::start(vec![Answer::stream(TEXT, 100)]).await;
    let head = format!("307 Temporary Redirect\r\nlocation: {}/v1/chat/completions", elsewhere.base_url);
    let error = refusal(OPENAI, Answer::plain(&head, "")).await;
    assert_eq!((error.kind, error.status), (ModelErrorKind::Provider, Some(307)));
    let mut elsewhere = elsewhere;
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_refused() {
    let page = Answer::plain("200 OK\r\ncontent-type: text/html", "<html></html>");
    assert_eq!(refusal(OPENAI, page).await.kind, ModelErrorKind::Malformed);
    let body = "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}";
    let error = refusal("local/tiny", Answer::plain("200 OK\r\ncontent-type: application/json", body)).await;
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ModelErrorKind::Overloaded, "local is overloaded: Loading model")
    );
}

#[tokio::test]
async fn an_endless_error_body_is_cut() {
    let body = "x".repeat(10 << 20);
    assert!(refusal(OPENAI, Answer::plain("400 Bad Request", &body)).await.message.ends_with('…'));
}

#[tokio::test]
async fn nobody_at_the_other_end_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let openai = Some(ProviderConfig { key: Secret::new(KEY), base_url: Some(base_url) });
    let models = Models::open(ModelsConfig { openai, ..ModelsConfig::default() }).unwrap();
    let Err(error) = models.find(OPENAI).unwrap().start(&asking("Hello")).await else {
        panic!("it was reached")
    };
    assert_eq!(error.kind, ModelErrorKind::Unreachable);
    assert!(
        error.message.starts_with("OpenAI could not be reached: Connection refused"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_left_is_not_asked_again() {
    let error = refusal(OPENAI, Answer { pieces: Vec::new(), hold: false }).await;
    assert_eq!(error.kind, ModelErrorKind::CutShort);
    assert!(!error.kind.is_transient(), "the model may have read it");
    assert!(error.message.starts_with("OpenAI broke off before it answered"), "{}", error.message);
}

#[tokio::test]
async fn an_anthropic_request_has_what_the_api_wants() {
    let mut request = asking("Hello");
    request.parameters.temperature = Some(0.5);
    request.parameters.top_p = Some(0.9);
    request.parameters.seed = Some(1);
    request.parameters.stop = vec!["###".to_owned(), " \n".to_owned()];
    request.prefill = Some("Dear".to_owned());
    let (head, body) = sent(ANTHROPIC, &request).await;
    assert!(head.starts_with("POST /v1/messages HTTP/1.1"));
    for line in [
        format!("x-api-key: {KEY}"),
        "anthropic-version: 2023-06-01".into(),
        "accept-encoding: identity".into(),
    ] {
        assert!(head.contains(&line), "{head}");
    }
    let messages =
        json!([{ "role": "user", "content": "Hello" }, { "role": "assistant", "content": "Dear" }]);
    let expected = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 8192, "system": "You are a test.", "messages": messages,
        "temperature": 0.5, "stop_sequences": ["###"], "stream": true,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_prefill_goes_only_where_it_is_known_to_work() {
    let mut request = asking("Hello");
    request.prefill = Some("Dear".to_owned());
    for model in ["anthropic/claude-opus-4-6", OPENAI] {
        let (_, body) = sent(model, &request).await;
        assert!(!body.to_string().contains("Dear"), "{model}");
    }
    let (_, body) = sent("local/tiny", &request).await;
    assert_eq!(body["messages"][2], json!({ "role": "assistant", "content": "Dear" }));
    assert!(body.get("continue_final_message").is_none());
    let (_, body) = sent("vllm/any", &request).await;
    assert_eq!(
        (&body["continue_final_message"], &body["add_generation_prompt"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(body["stream_options"], json!({ "include_usage": true, "continuous_usage_stats": true }));
}

#[tokio::test]
async fn an_openai_request_sends_only_what_the_model_accepts() {
    let mut request = asking("Hello");
    request.parameters.temperature = Some(0.5);
    request.parameters.max_tokens = Some(100);
    request.parameters.seed = Some(7);
    request.parameters.stop = vec!["###".to_owned()];
    let (head, body) = sent(OPENAI, &request).await;
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"));
    assert!(head.contains(&format!("authorization: Bearer {KEY}")));
    let messages =
        json!([{ "role": "system", "content": "You are a test." }, { "role": "user", "content": "Hello" }]);
    let expected = json!({
        "model": "gpt-4.1-mini", "messages": messages, "temperature": 0.5, "max_tokens": 100, "stop": ["###"],
        "seed": 7, "stream": true, "stream_options": { "include_usage": true },
    });
    assert_eq!(body, expected);
    let (_, body) = sent("openai/gpt-5-mini", &request).await;
    assert_eq!(body["max_completion_tokens"], 100);
    for parameter in ["temperature", "max_tokens", "stop", "seed"] {
        assert!(body.get(parameter).is_none(), "{parameter}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_one_line() {
    let openai = |key: &str, base_url: &str| ModelsConfig {
        openai: Some(ProviderConfig { key: Secret::new(key), base_url: Some(base_url.to_owned()) }),
        ..ModelsConfig::default()
    };
    for config in [openai("k", "nonsense"), openai("k", "ftp://x"), openai("two\nlines", "http://x")] {
        let Err(ConfigProblem(line)) = Models::open(config) else { panic!("it was accepted") };
        assert!(line.starts_with("OpenAI: ") && !line.contains('\n'), "{line}");
    }
}
