//! The demo models: the same request gives the same bytes, and every state of a run can be had.

use super::{
    Model, ModelErrorKind, ModelEvent, Models, ModelsConfig,
    provider_double::{Told, asking, told},
};
use crate::domain::prompt::ModelRequest;
use promptroom_protocol::{BlockKind, StopReason};
use std::time::Duration;
use tokio::time::Instant;

const LABEL: &str = "Demo, not an AI";

fn model(name: &str, demo_pace_ms: Option<u64>) -> Model {
    let models = Models::open(ModelsConfig { demo: true, demo_pace_ms, ..ModelsConfig::default() }).unwrap();
    models.find(&format!("demo/{name}")).unwrap()
}

async fn answer(name: &str, request: &ModelRequest) -> Told {
    told(model(name, Some(0)).start(request).await.unwrap()).await
}

fn all_text(told: &Told) -> &str {
    assert_eq!(told.blocks.len(), 1);
    &told.blocks[0].1
}

#[tokio::test]
async fn markdown_reflects_the_prompt() {
    let mut request = asking("Why is the **sky** blue?\nTell {{audience}}.");
    request.parameters.temperature = Some(0.7);
    let told = answer("markdown", &request).await;
    let text = all_text(&told);
    let wanted = [
        LABEL,
        "> Why is the **sky** blue?\n> Tell {{audience}}.",
        "You are a test.",
        "| temperature | 0.7 |",
        "```",
        "audience |",
    ];
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted} is not in:\n{text}");
    }
    assert_eq!(told.stop, Some((StopReason::End, None)));
    let usage = told.usage.unwrap();
    assert!(usage.input_tokens > Some(5) && usage.output_tokens > Some(100));
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_and_another_seed_others() {
    for name in ["markdown", "slow", "tools", "long"] {
        let request = asking("Something about mountains and rivers");
        let first = answer(name, &request).await;
        assert_eq!(first, answer(name, &request).await, "{name}");
        let mut seeded = request.clone();
        seeded.parameters.seed = Some(2);
        assert_ne!(first.blocks, answer(name, &seeded).await.blocks, "{name}");
    }
}

#[tokio::test]
async fn long_is_a_megabyte_with_emoji_after_reasoning_and_before_a_tool_call() {
    let told = answer("long", &asking("Write a lot")).await;
    let kinds: Vec<BlockKind> = told.blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [BlockKind::Reasoning, BlockKind::Text, BlockKind::ToolCall, BlockKind::Text]);
    let text = &told.blocks[1].1;
    assert!(text.len() >= 1 << 20 && text.len() < 2 << 20 && text.contains("👩‍💻") && text.contains(LABEL));
    let (header, arguments) = told.blocks[2].1.split_once('\n').unwrap();
    for json in [header, arguments] {
        assert!(serde_json::from_str::<serde_json::Value>(json).unwrap().is_object(), "{json}");
    }
}

#[tokio::test]
async fn tools_shows_every_kind_of_block() {
    let told = answer("tools", &asking("What is the weather?")).await;
    let kinds: Vec<BlockKind> = told.blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [BlockKind::Reasoning, BlockKind::Text, BlockKind::ToolCall, BlockKind::Text]);
    assert!(told.blocks[1].1.contains(LABEL));
    let (header, arguments) = told.blocks[2].1.split_once('\n').unwrap();
    let header: serde_json::Value = serde_json::from_str(header).unwrap();
    assert_eq!(header["name"], "look_up");
    assert!(serde_json::from_str::<serde_json::Value>(arguments).unwrap()["query"].is_string());
    assert!(told.usage.unwrap().reasoning_tokens > Some(0));
}

#[tokio::test]
async fn the_first_delta_of_a_tool_call_is_its_header() {
    let mut stream = model("tools", Some(0)).start(&asking("Weather?")).await.unwrap();
    let mut deltas = Vec::new();
    while let Some(Ok(event)) = stream.next().await {
        if let ModelEvent::Delta { kind: BlockKind::ToolCall, text, .. } = event {
            deltas.push(text);
        }
    }
    assert!(
        deltas[0].starts_with("{\"id\":") && deltas[0].ends_with("}\n") && deltas.len() > 3,
        "{deltas:?}"
    );
}

#[tokio::test]
async fn failing_breaks_off_and_overloaded_does_not_begin() {
    let told = answer("failing", &asking("Hello")).await;
    assert_eq!(told.error.as_ref().unwrap().kind, ModelErrorKind::CutShort);
    assert!(all_text(&told).len() > 40);
    let Err(error) = model("overloaded", None).start(&asking("Hello")).await else { panic!("it began") };
    assert_eq!((error.kind, error.retry_after_ms), (ModelErrorKind::Overloaded, Some(5_000)));
}

#[tokio::test]
async fn max_tokens_ends_an_answer() {
    for max_tokens in [1, 17] {
        let mut request = asking("Hello");
        request.parameters.max_tokens = Some(max_tokens);
        let told = answer("markdown", &request).await;
        assert_eq!(told.stop, Some((StopReason::MaxTokens, None)));
        assert_eq!(told.usage.unwrap().output_tokens, Some(u64::from(max_tokens)));
    }
}

#[tokio::test]
async fn a_stop_sequence_ends_an_answer_before_it_wherever_it_lies() {
    for name in ["markdown", "long"] {
        for sequence in ["not an AI", "\n\n", "👩‍💻", "prompt, so that every", "**"] {
            let mut request = asking("Hello");
            request.parameters.stop = vec!["never to be seen".to_owned(), sequence.to_owned()];
            let told = answer(name, &request).await;
            if name == "long" || sequence != "👩‍💻" {
                assert_eq!(told.stop, Some((StopReason::StopSequence, Some(sequence.to_owned()))));
            }
            assert!(told.blocks.iter().all(|(_, text)| !text.contains(sequence)));
        }
    }
}

#[tokio::test]
async fn a_prefill_is_continued_at_its_exact_byte() {
    for name in ["markdown", "slow"] {
        let request = asking("Something about mountains 👩‍💻");
        let whole = answer(name, &request).await;
        let whole = all_text(&whole);
        for cut in [1, 5, 160, whole.len() / 2, whole.len() - 1] {
            let cut = (cut..).find(|at| whole.is_char_boundary(*at)).unwrap();
            let continued = ModelRequest { prefill: Some(whole[..cut].to_owned()), ..request.clone() };
            let rest: String =
                answer(name, &continued).await.blocks.into_iter().map(|(_, text)| text).collect();
            assert_eq!(rest, whole[cut..], "{name} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_prefill_of_somebody_else_is_answered_in_full_and_says_so() {
    let request = asking("Hello");
    let whole = answer("markdown", &request).await;
    let foreign = ModelRequest { prefill: Some("Once upon a time".to_owned()), ..request };
    let told = answer("markdown", &foreign).await;
    assert!(all_text(&told).contains("cannot go on") && all_text(&told).ends_with(all_text(&whole)));
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_that_of_a_model() {
    for (name, first_ms, seconds) in [("markdown", 150, 3..12), ("slow", 500, 45..90), ("long", 150, 5..20)] {
        let begun = Instant::now();
        let mut stream = model(name, None).start(&asking("Something about mountains")).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        stream.next().await.unwrap().unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(first_ms));
        while stream.next().await.is_some() {}
        assert!(seconds.contains(&begun.elapsed().as_secs()), "{name} took {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_keeps_the_pace_and_the_text() {
    let request = asking("Hello");
    let whole = answer("markdown", &request).await;
    let mut stream = model("markdown", None).start(&request).await.unwrap();
    let mut text = String::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(7), stream.next()).await {
            Err(_) => {}
            Ok(Some(Ok(ModelEvent::Delta { text: more, .. }))) => text.push_str(&more),
            Ok(Some(_)) => {}
            Ok(None) => break,
        }
    }
    assert_eq!(text, all_text(&whole));
}
