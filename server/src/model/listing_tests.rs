//! Which models there are, as endpoints tell it.

use super::{
    ModelErrorKind,
    provider_double::{Answer, Double},
};
use std::time::Duration;

fn listing(body: &str) -> Answer {
    Answer::plain("200 OK\r\ncontent-type: application/json\r\nconnection: close", body)
}

async fn ids_of(double: &Double, lane: &str) -> Vec<String> {
    let models = double.models().list().await;
    models.into_iter().filter(|model| model.lane == lane).map(|model| model.id).collect()
}

#[tokio::test]
async fn a_lane_without_a_list_asks_its_endpoint() {
    let body = "{\"object\":\"list\",\"data\":[{\"id\":\"org/model-a\",\"max_model_len\":4096},{\"id\":\"/models/b.gguf\",\"meta\":{\"n_ctx_train\":64}},{\"id\":\"bad name\"}]}";
    let double = Double::start(vec![listing(body)]).await;
    let models = double.models().list().await;
    let local: Vec<_> = models.iter().filter(|model| model.lane == "local").collect();
    assert_eq!(
        local.iter().map(|model| model.id.as_str()).collect::<Vec<_>>(),
        ["local/org/model-a", "local//models/b.gguf"]
    );
    assert_eq!((local[0].label.as_str(), local[1].label.as_str()), ("org/model-a", "b"));
    assert_eq!((local[0].context_tokens, local[1].context_tokens), (Some(4096), Some(64)));
    assert!(double.models().find("local/org/model-a").is_some());
}

#[tokio::test]
async fn openai_lists_only_what_chats() {
    let body = "{\"data\":[{\"id\":\"gpt-4.1\"},{\"id\":\"text-embedding-3-small\"},{\"id\":\"whisper-1\"},{\"id\":\"gpt-5\"}]}";
    let double = Double::start(vec![listing(body)]).await;
    assert_eq!(ids_of(&double, "openai").await, ["openai/gpt-4.1", "openai/gpt-5"]);
}

#[tokio::test]
async fn many_readers_of_the_list_ask_an_endpoint_once_a_minute() {
    let mut double = Double::start(vec![listing("{\"data\":[{\"id\":\"a\"}]}")]).await;
    let models = double.models();
    for _ in 0..3 {
        tokio::join!(models.list(), models.list(), models.list());
    }
    let mut asked = 0;
    while double.requests.try_recv().is_ok() {
        asked += 1;
    }
    assert_eq!(asked, 4, "one each for anthropic, openai, local and vllm");
}

#[tokio::test]
async fn an_endpoint_that_fails_has_no_models_and_a_provider_has_its_known_ones() {
    for answer in [Answer::plain("500 Oops", ""), listing("[]"), listing("<html>")] {
        let double = Double::start(vec![answer]).await;
        let models = double.models().list().await;
        assert!(models.iter().all(|model| model.lane != "local"));
        let openai = models.iter().find(|model| model.id == "openai/gpt-4.1-mini").unwrap();
        assert!(openai.notice.is_some());
        assert!(models.iter().any(|model| model.id == "anthropic/claude-sonnet-4-5"));
        assert_eq!(models.iter().filter(|model| model.lane == "demo").count(), 6);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_not_waited_for_long() {
    let double = Double::start(vec![Answer { pieces: Vec::new(), hold: true }]).await;
    let models = double.models();
    let listed = tokio::time::timeout(Duration::from_secs(5), models.list()).await.unwrap();
    assert!(listed.iter().all(|model| model.lane != "local"));
}

#[tokio::test]
async fn an_unknown_lane_or_demo_is_not_found() {
    let double = Double::start(vec![listing("{}")]).await;
    let models = double.models();
    for id in ["", "demo", "demo/", "demo/gpt", "nobody/x", "openai/", "openai/a b"] {
        assert!(models.find(id).is_none(), "{id}");
    }
    for id in ["demo/markdown", "openai/gpt-9", "local/org/name:tag"] {
        assert_eq!(models.find(id).unwrap().info.id, id);
    }
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_with_a_lane() {
    let double =
        Double::start(vec![listing("{\"data\":[{\"id\":\"a\"}]}"), Answer::plain("401 Unauthorized", "")])
            .await;
    let models = double.models();
    let lane = |name: &str| models.lanes().find(|lane| lane.name == name).unwrap();
    assert_eq!(models.probe(lane("demo")).await, Ok(6));
    assert_eq!(models.probe(lane("local")).await, Ok(1));
    let error = models.probe(lane("openai")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ModelErrorKind::Unauthorized, "OpenAI refused the key (401): Unauthorized")
    );
}
