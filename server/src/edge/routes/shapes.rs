//! Schemas of the shapes that are defined elsewhere, read off instances of them: so they cannot drift.
//!
//! A property is required if even the smallest instance has it; its type is that of the fullest one's.

use crate::domain::ledger::Price;
use crate::domain::prompt::{
    ContentPatch, InputSet, InputSetPatch, Message, MessagePatch, MessageRole, Part, PartPatch,
    PromptContent, Variable, VariableKind, VariablePatch, Variant, VariantPatch,
};
use crate::model::ModelInfo;
use promptroom_protocol::{
    BlockKind, Epoch, MemberId, Nanodollars, Offset, Overrides, Person, Problem, PromptId, QueuePlace,
    RequestId, Role, RunId, RunOrigin, RunState, RunSummary, Seam, StopReason, Usage,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};
use uuid::Uuid;

/// Gives a shape its name in the API description and its schema.
macro_rules! shape {
    ($shape:ident, $name:literal, $schema:expr) => {
        pub struct $shape;

        impl PartialSchema for $shape {
            fn schema() -> RefOr<Schema> {
                serde_json::from_value($schema).expect("a schema of ours can be read")
            }
        }

        impl ToSchema for $shape {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    };
}

shape!(PersonShape, "Person", of(&person(Some(7)), &person(None)));
shape!(RightsShape, "Rights", of(&Role::Editor.rights(), &Role::Viewer.rights()));
shape!(RoleShape, "Role", words(&[Role::Viewer, Role::Runner, Role::Editor, Role::Admin, Role::Owner]));
shape!(BlockKindShape, "BlockKind", words(&[BlockKind::Text, BlockKind::Reasoning, BlockKind::ToolCall]));
shape!(ProblemShape, "Problem", of(&problem(true), &problem(false)));
shape!(RunSummaryShape, "RunSummary", run_summary());
shape!(PromptContentShape, "PromptContent", of(&content(), &content()));
shape!(ContentPatchShape, "ContentPatch", of(&patch(), &ContentPatch::default()));
shape!(OverridesShape, "Overrides", of(&overrides(), &Overrides::default()));
shape!(ModelInfoShape, "ModelInfo", of(&model(true), &model(false)));

fn of<T: Serialize>(fullest: &T, smallest: &T) -> Value {
    schema(&value(fullest), &value(smallest))
}

fn words<T: Serialize>(all: &[T]) -> Value {
    json!({ "type": "string", "enum": all })
}

fn value<T: Serialize>(shape: &T) -> Value {
    serde_json::to_value(shape).expect("a shape of ours can be written")
}

fn schema(fullest: &Value, smallest: &Value) -> Value {
    match fullest {
        Value::Object(fields) => {
            let none = Map::new();
            let least = smallest.as_object().unwrap_or(&none);
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(name, full)| (name.clone(), schema(full, least.get(name).unwrap_or(full))))
                .collect();
            let required: Vec<&String> = fields.keys().filter(|name| least.contains_key(*name)).collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
        Value::Array(items) => match items.first() {
            Some(item) => json!({ "type": "array", "items": schema(item, item) }),
            None => json!({ "type": "array", "items": {} }),
        },
        Value::String(text) if text.parse::<Uuid>().is_ok() => json!({ "type": "string", "format": "uuid" }),
        Value::String(text) => json!({ "type": "string", "example": text }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer", "format": "int64" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Null => json!({}),
    }
}

fn run_summary() -> Value {
    let mut schema = of(&run(true), &run(false));
    schema["properties"]["state"] = words(&RunState::ALL);
    schema["properties"]["origin"] = words(&[RunOrigin::Run, RunOrigin::Regenerate, RunOrigin::Continue]);
    schema["properties"]["parameters"] = json!({ "type": "object" });
    schema
}

fn person(client: Option<u64>) -> Person {
    Person { id: MemberId(Uuid::nil()), name: "Ana".to_owned(), role: Role::Editor, client }
}

fn problem(full: bool) -> Problem {
    let word = |text: &str| if full { text.to_owned() } else { String::new() };
    Problem {
        kind: "about:blank".to_owned(),
        title: "The queue is full".to_owned(),
        status: 429,
        code: "run.queue_full".to_owned(),
        detail: "7 runs already wait for this model.".to_owned(),
        kept: word("Nothing was sent and nothing was charged."),
        next: word("Wait, or choose another model."),
        request_id: full.then_some(RequestId(Uuid::nil())),
        retry_after_ms: full.then_some(10_000),
    }
}

fn run(full: bool) -> RunSummary {
    let queue = QueuePlace { position: 1, waiting: 2, reason: "All 4 slots of demo are taken.".to_owned() };
    RunSummary {
        id: RunId(Uuid::nil()),
        prompt: PromptId(Uuid::nil()),
        number: 1,
        origin: RunOrigin::Run,
        parent: full.then_some(RunId(Uuid::nil())),
        by: person(None),
        variant: "main".to_owned(),
        model: "demo/markdown".to_owned(),
        state: RunState::Streaming,
        epoch: Epoch::FIRST,
        bytes: Offset(0),
        hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        parameters: json!({}),
        created_at_ms: 0,
        admitted_at_ms: full.then_some(0),
        first_token_at_ms: full.then_some(0),
        ended_at_ms: full.then_some(0),
        queue: full.then_some(queue),
        stop_reason: full.then_some(StopReason::End),
        stop_sequence: full.then(|| "###".to_owned()),
        stopped_by: full.then(|| person(None)),
        usage: full.then(Usage::default),
        cost: full.then_some(Nanodollars(0)),
        attempts: 1,
        seams: if full {
            vec![Seam { epoch: Epoch(2), offset: Offset(0), at_ms: 0, gap_ms: 0 }]
        } else {
            Vec::new()
        },
        problem: full.then(|| problem(true)),
    }
}

fn content() -> PromptContent {
    let part = Part::Text { id: "text".to_owned(), text: "Hello {{name}}".to_owned() };
    let message = Message { id: "first".to_owned(), role: MessageRole::User, parts: vec![part] };
    PromptContent {
        title: "Greeting".to_owned(),
        variants: vec![Variant { id: "main".to_owned(), messages: vec![message], ..Variant::default() }],
        variables: vec![Variable {
            name: "name".to_owned(),
            kind: VariableKind::Text,
            default: "you".to_owned(),
        }],
        inputs: vec![InputSet { id: "default".to_owned(), name: "Default".to_owned(), values: [].into() }],
    }
}

fn patch() -> ContentPatch {
    let text = || Some("text".to_owned());
    let message = MessagePatch {
        id: text(),
        role: Some(MessageRole::User),
        text: text(),
        parts: Some(vec![PartPatch::Text { id: text(), text: "text".to_owned() }]),
    };
    let variant = VariantPatch {
        id: text(),
        name: text(),
        model: text(),
        parameters: parameters(),
        system: text(),
        messages: Some(vec![message]),
    };
    let variable = VariablePatch {
        name: "name".to_owned(),
        kind: Some(VariableKind::Text),
        default: text(),
        deleted: Some(false),
    };
    let inputs =
        InputSetPatch { id: text(), name: text(), values: [("name".to_owned(), "Ana".to_owned())].into() };
    ContentPatch { title: text(), variants: vec![variant], variables: vec![variable], inputs: vec![inputs] }
}

fn overrides() -> Overrides {
    Overrides {
        model: Some("demo/markdown".to_owned()),
        parameters: parameters(),
        values: [("name".to_owned(), "Ana".to_owned())].into(),
    }
}

fn parameters() -> Map<String, Value> {
    [("temperature".to_owned(), json!(0.5))].into_iter().collect()
}

fn model(full: bool) -> ModelInfo {
    let price = Price {
        input_nanos_per_mtok: 0,
        cached_input_nanos_per_mtok: 0,
        output_nanos_per_mtok: 0,
        as_of: "2025-12-01".to_owned(),
    };
    ModelInfo {
        id: "demo/markdown".to_owned(),
        label: "Demo".to_owned(),
        lane: "demo".to_owned(),
        provider: "demo".to_owned(),
        context_tokens: full.then_some(0),
        output_tokens_max: full.then_some(0),
        price: full.then_some(price),
        parameters: vec!["temperature"],
        prefill: true,
        notice: full.then_some("This is not an AI."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_requires_what_the_smallest_instance_has() {
        let schema = of(&json!({ "a": 1, "b": ["x"] }), &json!({ "a": 0 }));
        assert_eq!(schema["required"], json!(["a"]));
        assert_eq!(
            schema["properties"]["b"],
            json!({ "type": "array", "items": { "type": "string", "example": "x" } })
        );
    }

    #[test]
    fn a_run_is_described_with_all_its_states_and_without_optional_fields_required() {
        let schema = run_summary();
        assert_eq!(schema["properties"]["state"]["enum"].as_array().map(Vec::len), Some(RunState::ALL.len()));
        let required = schema["required"].as_array().expect("a list");
        assert!(required.contains(&json!("hash")) && !required.contains(&json!("usage")));
    }
}
