//! Recorded streams of every provider through a real connection, whole and in small pieces.

use super::{
    ModelErrorKind,
    provider_double::{Answer, Double, Told, asking, told},
};
use crate::domain::ledger::UsageReport;
use promptroom_protocol::{BlockKind, StopReason};

const ANTHROPIC: &str = "anthropic/claude-sonnet-4-5";
const OPENAI: &str = "openai/gpt-4.1-mini";

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("recorded/", $name, ".txt"))
    };
}

/// What a stream says, whichever way it is cut.
async fn said(model: &str, events: &str) -> Told {
    let mut first = None;
    for piece_bytes in [usize::MAX, 1, 7, 64] {
        for events in [events.to_owned(), events.replace('\n', "\r\n")] {
            let double = Double::start(vec![Answer::stream(&events, piece_bytes)]).await;
            let told = told(double.model(model).start(&asking("Hello")).await.unwrap()).await;
            assert_eq!(
                first.get_or_insert_with(|| told.clone_for_comparison()),
                &told,
                "pieces of {piece_bytes}"
            );
        }
    }
    first.unwrap()
}

impl Told {
    fn clone_for_comparison(&self) -> Told {
        Told {
            blocks: self.blocks.clone(),
            usage: self.usage,
            stop: self.stop.clone(),
            error: self.error.clone(),
        }
    }

    fn end(&self) -> StopReason {
        self.stop.as_ref().unwrap().0
    }

    fn failure(&self) -> (ModelErrorKind, &str) {
        let error = self.error.as_ref().unwrap();
        (error.kind, &error.message)
    }
}

fn text(text: &str) -> (BlockKind, String) {
    (BlockKind::Text, text.to_owned())
}

#[tokio::test]
async fn anthropic_text_is_billed_by_its_last_usage_and_not_by_the_placeholder() {
    let told = said(ANTHROPIC, recorded!("anthropic_text")).await;
    assert_eq!(told.blocks, [text("Hello, wörld 👩‍💻!")]);
    assert_eq!(told.stop, Some((StopReason::End, None)));
    let usage = UsageReport {
        input_tokens: Some(135),
        cached_input_tokens: Some(100),
        output_tokens: Some(15),
        reasoning_tokens: None,
    };
    assert_eq!(told.usage, Some(usage));
}

#[tokio::test]
async fn anthropic_thinking_and_a_tool_call_are_blocks_of_their_own() {
    let told = said(ANTHROPIC, recorded!("anthropic_thinking_and_tool")).await;
    let call = "{\"id\":\"toolu_01T\",\"name\":\"get_weather\"}\n{\"city\": \"Zürich\"}".to_owned();
    let reasoning = (BlockKind::Reasoning, "The weather, then.".to_owned());
    assert_eq!(told.blocks, [reasoning, text("Let me look."), (BlockKind::ToolCall, call)]);
    assert_eq!(told.end(), StopReason::ToolCalls);
    let usage = told.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(480), Some(89)));
}

#[tokio::test]
async fn anthropic_stop_reasons_are_kept_apart() {
    for (theirs, ours) in [
        ("max_tokens", StopReason::MaxTokens),
        ("pause_turn", StopReason::Pause),
        ("refusal", StopReason::Refusal),
        ("model_context_window_exceeded", StopReason::ContextFull),
        ("a_reason_of_tomorrow", StopReason::End),
    ] {
        let told = said(ANTHROPIC, &recorded!("anthropic_text").replace("end_turn", theirs)).await;
        assert_eq!(told.end(), ours, "{theirs}");
    }
    let at_sequence = "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"###\"";
    let events = recorded!("anthropic_text")
        .replace("\"stop_reason\":\"end_turn\",\"stop_sequence\":null", at_sequence);
    assert_eq!(said(ANTHROPIC, &events).await.stop, Some((StopReason::StopSequence, Some("###".to_owned()))));
}

#[tokio::test]
async fn anthropic_error_after_a_200_keeps_the_partial_text_and_no_placeholder() {
    let told = said(ANTHROPIC, recorded!("anthropic_error_after_200")).await;
    assert_eq!(told.blocks, [text("Once upon")]);
    assert_eq!(told.failure(), (ModelErrorKind::Overloaded, "Anthropic broke off: Overloaded"));
    let usage = told.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(12), None));
}

#[tokio::test]
async fn openai_text_keeps_an_explicit_zero() {
    let told = said(OPENAI, recorded!("openai_text")).await;
    assert_eq!(told.blocks, [text("Hello, wörld 👩‍💻!")]);
    assert_eq!(told.stop, Some((StopReason::End, None)));
    let usage = UsageReport {
        input_tokens: Some(19),
        cached_input_tokens: Some(8),
        output_tokens: Some(0),
        reasoning_tokens: Some(0),
    };
    assert_eq!(told.usage, Some(usage));
}

#[tokio::test]
async fn openai_tool_calls_may_be_written_in_turns() {
    let told = said(OPENAI, recorded!("openai_two_tools")).await;
    let weather = "{\"id\":\"call_a\",\"name\":\"get_weather\"}\n{\"city\":\"Bern\"}".to_owned();
    let time = "{\"id\":\"call_b\",\"name\":\"get_time\"}\n{}".to_owned();
    assert_eq!(told.blocks, [(BlockKind::ToolCall, weather), (BlockKind::ToolCall, time)]);
    assert_eq!((told.end(), told.usage), (StopReason::ToolCalls, None));
}

#[tokio::test]
async fn whole_tool_calls_under_one_index_are_told_apart_by_their_ids() {
    let call = |id: &str| {
        let call =
            format!("{{\"index\":0,\"id\":\"{id}\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}}}}");
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{call}]}}}}]}}\n\n")
    };
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n";
    let told = said("local/tiny", &format!("{}{}{finish}", call("a"), call("b"))).await;
    let block = |id: &str| (BlockKind::ToolCall, format!("{{\"id\":\"{id}\",\"name\":\"f\"}}\n{{}}"));
    assert_eq!(told.blocks, [block("a"), block("b")]);
}

#[tokio::test]
async fn openai_error_inside_a_200_keeps_the_partial_text() {
    let told = said(OPENAI, recorded!("openai_error_in_200")).await;
    assert_eq!(told.blocks, [text("Once")]);
    let message = "OpenAI broke off: The server had an error processing your request";
    assert_eq!(told.failure(), (ModelErrorKind::Provider, message));
}

#[tokio::test]
async fn openai_refusal_is_shown_as_text_and_called_one() {
    let told = said(OPENAI, recorded!("openai_refusal")).await;
    assert_eq!(
        (told.blocks.as_slice(), told.end()),
        ([text("I cannot do that.")].as_slice(), StopReason::Refusal)
    );
}

#[tokio::test]
async fn deepseek_reasoning_comes_before_the_text() {
    let told = said("local/deepseek-reasoner", recorded!("deepseek_reasoning")).await;
    let reasoning = (BlockKind::Reasoning, "Nine is three squared.".to_owned());
    assert_eq!(
        (told.blocks.as_slice(), told.end()),
        ([reasoning, text("Three.")].as_slice(), StopReason::MaxTokens)
    );
    let usage = told.usage.unwrap();
    assert_eq!((usage.cached_input_tokens, usage.reasoning_tokens), (Some(4), Some(52)));
}

#[tokio::test]
async fn vllm_names_the_stop_sequence_and_counts_in_every_chunk() {
    let told = said("vllm/Qwen/Qwen3-8B", recorded!("vllm_stop_sequence")).await;
    assert_eq!(told.blocks, [(BlockKind::Reasoning, "Hm.".to_owned()), text("One")]);
    assert_eq!(told.stop, Some((StopReason::StopSequence, Some("two".to_owned()))));
    assert_eq!(told.usage.unwrap().output_tokens, Some(4));
}

#[tokio::test]
async fn llama_cpp_sends_usage_in_a_chunk_without_choices() {
    let told = said("local/tiny", recorded!("llama_cpp")).await;
    assert_eq!((told.blocks.as_slice(), told.end()), ([text("tok")].as_slice(), StopReason::End));
    assert_eq!(told.usage.unwrap().input_tokens, Some(5));
}

#[tokio::test]
async fn an_end_without_a_finish_reason_is_cut_short_wherever_it_comes() {
    for (model, events, marker) in [
        (ANTHROPIC, recorded!("anthropic_text"), "event: message_delta"),
        (
            OPENAI,
            recorded!("openai_text"),
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1-mini-2025-04-14\",\"choices\":[{\"index\":0,\"delta\":{},",
        ),
    ] {
        let finish = events.find(marker).unwrap();
        let cuts = (0..finish + marker.len()).step_by(37).filter(|at| events.is_char_boundary(*at));
        for cut in cuts {
            for answer in
                [Answer::stream(&events[..cut], usize::MAX), Answer::open_stream(&events[..cut], usize::MAX)]
            {
                let double = Double::start(vec![answer]).await;
                let told = told(double.model(model).start(&asking("Hello")).await.unwrap()).await;
                assert_eq!(told.failure().0, ModelErrorKind::CutShort, "cut at {cut}");
            }
        }
    }
}

#[tokio::test]
async fn an_end_after_the_finish_reason_is_a_whole_answer_even_without_the_closing_words() {
    let openai = recorded!("openai_text");
    let anthropic = recorded!("anthropic_text");
    for (model, events) in [
        (OPENAI, openai.trim_end().trim_end_matches("data: [DONE]")),
        (OPENAI, openai.trim_end()),
        (ANTHROPIC, &anthropic[..anthropic.find("event: message_stop").unwrap()]),
    ] {
        for answer in [Answer::stream(events, 50), Answer::open_stream(events, 50)] {
            let double = Double::start(vec![answer]).await;
            let told = told(double.model(model).start(&asking("Hello")).await.unwrap()).await;
            assert_eq!(told.end(), StopReason::End);
            assert!(told.usage.unwrap().output_tokens.is_some());
        }
    }
}

#[tokio::test]
async fn done_without_a_finish_reason_is_cut_short() {
    let told = said(
        OPENAI,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hm\"}}]}\n\ndata: [DONE]\n\n",
    )
    .await;
    assert_eq!(
        (told.blocks.as_slice(), told.failure().0),
        ([text("Hm")].as_slice(), ModelErrorKind::CutShort)
    );
}

#[tokio::test]
async fn an_event_that_is_not_json_is_malformed_and_what_came_before_it_is_kept() {
    let told =
        said(OPENAI, "data: {\"choices\":[{\"delta\":{\"content\":\"Hm\"}}]}\n\ndata: {nonsense\n\n").await;
    assert_eq!(
        (told.blocks.as_slice(), told.failure().0),
        ([text("Hm")].as_slice(), ModelErrorKind::Malformed)
    );
}
