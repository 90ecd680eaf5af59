//! The document on real edits, on ours, and on the frames that yrs alone does not survive.

use super::FrameRefusal::{Malformed, Missing, TooLarge, Unsupported};
use super::{Applied, ApplyError, Document, EditRefusal, FrameRefusal, first_state};
use crate::domain::prompt::{ContentPatch, MessageRole, Part, PromptContent};
use serde_json::json;
use yrs::updates::decoder::Decode;
use yrs::{Any, Doc, GetString, Map, MapPrelim, MapRef, OffsetKind, Options, Out, ReadTxn, StateVector};
use yrs::{Text, TextPrelim, TextRef, Transact, TransactionMut, Update, WriteTxn};

const MODEL: &str = "demo/markdown";

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// A stock client: a yrs document of its own that says what it did.
pub(super) struct Client(Doc);

impl Client {
    pub fn new(client_id: u64) -> Client {
        let mut options = Options::with_client_id(yrs::block::ClientID::new(client_id));
        options.offset_kind = OffsetKind::Utf16;
        Client(Doc::with_options(options))
    }

    fn beside(client_id: u64, document: &Document) -> Client {
        let client = Client::new(client_id);
        client.receive(&document.encode_all().unwrap());
        client
    }

    pub fn act(&self, act: impl FnOnce(&mut TransactionMut<'_>)) -> Vec<u8> {
        let mut txn = self.0.transact_mut();
        act(&mut txn);
        txn.encode_update_v1()
    }

    pub fn receive(&self, frame: &[u8]) {
        self.0.transact_mut().apply_update(Update::decode_v1(frame).unwrap()).unwrap();
    }

    fn state(&self) -> Vec<u8> {
        self.0.transact().encode_diff_v1(&StateVector::default())
    }
}

fn message_text(txn: &mut TransactionMut<'_>, id: &str) -> (MapRef, TextRef) {
    let walk = ["main", "messages", id];
    let mut map = txn.get_or_insert_map("variants");
    for key in walk {
        map = map.get(txn, key).and_then(|value| value.cast().ok()).unwrap();
    }
    let parts: MapRef = map.get(txn, "parts").unwrap().cast().unwrap();
    let part: MapRef = parts.get(txn, "text").unwrap().cast().unwrap();
    (map, part.get(txn, "text").unwrap().cast().unwrap())
}

fn room() -> Document {
    let first = first_state(11, &ContentPatch::default(), MODEL).unwrap();
    Document::load(12, None, [first.as_slice()].into_iter()).unwrap()
}

fn patch(value: serde_json::Value) -> ContentPatch {
    serde_json::from_value(value).unwrap()
}

fn texts(content: &PromptContent) -> Vec<(String, String)> {
    content.variants[0].messages.iter().map(|message| (message.id.clone(), message.text())).collect()
}

fn refused(document: &mut Document, frame: &str) -> FrameRefusal {
    match document.apply(&hex(frame)) {
        Err(ApplyError::Refused(refusal)) => refusal,
        other => panic!("{frame}: {other:?}"),
    }
}

#[test]
fn a_new_prompt_has_one_empty_message_and_one_input_set() {
    let mut document = room();
    let content = document.content().unwrap();
    assert_eq!(content.variants.len(), 1);
    assert_eq!((content.variants[0].id.as_str(), content.variants[0].name.as_str()), ("main", "A"));
    assert_eq!(content.variants[0].model, MODEL);
    assert_eq!(content.variants[0].messages[0].role, MessageRole::User);
    let part = Part::Text { id: "text".to_owned(), text: String::new() };
    assert_eq!(content.variants[0].messages[0].parts, [part]);
    assert_eq!((content.inputs[0].id.as_str(), content.inputs[0].name.as_str()), ("default", "Default"));
    assert!(content.variables.is_empty() && content.title.is_empty());
    assert_eq!(document.bytes().unwrap(), document.encode_all().unwrap().len());
}

#[test]
fn the_frames_that_yrs_does_not_survive_are_refused_and_leave_no_trace() {
    let mut document = room();
    let before = document.digest().unwrap();
    let deep = format!("01010100280103646f63017801{}7e00", "7501".repeat(7_000));
    assert_eq!(refused(&mut document, "01010102280103646f63017a017d0300"), Missing);
    assert!(matches!(refused(&mut document, &deep), Unsupported(_)));
    assert_eq!(refused(&mut document, "01016007524407000768c3a96c6c6f2000"), Malformed);
    assert_eq!(refused(&mut document, "8080808001"), Malformed);
    assert!(matches!(refused(&mut document, "010101000701057469746c650900"), Unsupported(_)));
    assert_eq!(refused(&mut document, "01020200270103646f6301610104000201015800"), Malformed);
    assert_eq!(
        refused(&mut document, "01020100 270103646f630161 00 0400010004f09f9880 00"),
        Unsupported("arrays")
    );
    assert_eq!(refused(&mut document, "01018180808080808010000401 03646f63 01 61 00"), Malformed);
    assert_eq!(refused(&mut document, "010101 8080808010 040103646f63016100"), Malformed);
    assert_eq!(document.digest().unwrap(), before);
}

#[test]
fn what_rests_on_something_unknown_is_missing_until_that_has_come() {
    let mut document = room();
    let author = Client::beside(21, &document);
    let first = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "ab"));
    let second = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 1, "x"));
    let third = author.act(|txn| txn.get_or_insert_text("title").remove_range(txn, 0, 3));
    let other = Client::new(5);
    other.receive(&first);
    let resting = other.act(|txn| txn.get_or_insert_text("title").insert(txn, 2, "y"));
    for frame in [&second, &third, &resting] {
        assert_eq!(document.apply(frame), Err(ApplyError::Refused(Missing)));
    }
    for frame in [&first, &second, &resting, &third] {
        assert_eq!(document.apply(frame), Ok(Applied::Changed));
        assert_eq!(document.apply(frame), Ok(Applied::Nothing));
    }
    assert_eq!(document.title().unwrap(), "y");
}

#[test]
fn a_frame_that_only_deletes_what_is_deleted_adds_nothing() {
    let mut document = room();
    let author = Client::beside(21, &document);
    let teammate = Client::beside(22, &document);
    let typed = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "abc"));
    teammate.receive(&typed);
    let deleted = author.act(|txn| txn.get_or_insert_text("title").remove_range(txn, 0, 2));
    let same = teammate.act(|txn| txn.get_or_insert_text("title").remove_range(txn, 1, 1));
    for (frame, applied) in
        [(&typed, Applied::Changed), (&deleted, Applied::Changed), (&same, Applied::Nothing)]
    {
        assert_eq!(document.apply(frame), Ok(applied));
    }
    let whole = document.encode_all().unwrap();
    assert_eq!(document.apply(&whole), Ok(Applied::Nothing));
    let more = teammate.act(|txn| txn.get_or_insert_text("title").remove_range(txn, 0, 2));
    assert_eq!(document.apply(&more), Ok(Applied::Changed));
    assert_eq!(document.title().unwrap(), "");
}

#[test]
fn a_frame_may_overlap_what_is_known() {
    let mut document = room();
    let author = Client::new(21);
    let first = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "to"));
    author.act(|txn| txn.get_or_insert_text("title").insert(txn, 2, "day"));
    document.apply(&first).unwrap();
    assert_eq!(document.apply(&author.state()), Ok(Applied::Changed));
    assert_eq!(document.title().unwrap(), "today");
}

#[test]
fn structs_that_wait_for_each_other_are_refused() {
    let mut document = room();
    // Client 2 after client 1, client 1 after client 2.
    assert_eq!(refused(&mut document, "02 0102008401000161 0101008402000162 00"), Malformed);
}

#[test]
fn a_parent_must_be_a_map_or_a_text() {
    let mut document = room();
    assert_eq!(document.apply(&hex("010101000401057469746c65026162 00")), Ok(Applied::Changed));
    assert_eq!(refused(&mut document, "010102000400010001630 0"), Malformed);
    assert_eq!(document.title().unwrap(), "ab");
}

#[test]
fn neighbours_must_lie_in_one_container() {
    let mut document = room();
    document.apply(&hex("010101000401057469746c65026162 00")).unwrap();
    document.apply(&hex("010102000401056f74686572026162 00")).unwrap();
    assert_eq!(refused(&mut document, "01010300c4010002000163 00"), Malformed);
    // The beginning is known to lie in the title, the rest claims to go on elsewhere.
    assert_eq!(refused(&mut document, "010101000401056f7468657203616263 00"), Malformed);
}

#[test]
fn maps_nest_sixty_four_deep_and_no_deeper() {
    let mut document = room();
    let mut frame = hex("0141010027010164016b01");
    for depth in 0..64 {
        frame.extend([0x27, 0, 1, depth, 1, b'k', 1]);
    }
    frame.push(0);
    assert!(matches!(document.apply(&frame), Err(ApplyError::Refused(Unsupported(_)))));
    frame[1] -= 1;
    frame.truncate(frame.len() - 8);
    frame.push(0);
    assert_eq!(document.apply(&frame), Ok(Applied::Changed));
    assert_eq!(document.apply(&hex("0001010100 01")), Ok(Applied::Changed));
    document.digest().unwrap();
}

#[test]
fn forged_neighbours_cannot_stall_a_room() {
    let mut document = room();
    let letters = 5_000;
    let mut frame = vec![1];
    for number in [letters + 1, 7, 0] {
        put(&mut frame, number);
    }
    frame.extend(b"\x04\x01\x05title");
    put(&mut frame, letters + 1);
    frame.extend(vec![b'x'; letters + 1]);
    for letter in (1..=letters).rev() {
        frame.extend([0x44, 7]);
        put(&mut frame, letter);
        frame.extend(b"\x01b");
    }
    frame.push(0);
    assert_eq!(document.apply(&frame), Err(ApplyError::Refused(FrameRefusal::TooScattered)));
}

#[test]
fn thousands_of_lines_changed_offline_come_in_at_once() {
    let mut document = room();
    let author = Client::beside(21, &document);
    let lines = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, &"line\n".repeat(6_000)));
    document.apply(&lines).unwrap();
    let marked = author.act(|txn| {
        let text = txn.get_or_insert_text("title");
        (0..6_000).rev().for_each(|line| text.insert(txn, line * 5, "- "));
    });
    assert_eq!(document.apply(&marked), Ok(Applied::Changed));
}

fn put(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[test]
fn a_full_document_takes_deletions_only() {
    let mut document = room();
    let author = Client::beside(21, &document);
    let long = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, &"x".repeat(10_000)));
    let more = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "y"));
    let fewer = author.act(|txn| txn.get_or_insert_text("title").remove_range(txn, 0, 9_000));
    document.apply(&long).unwrap();
    let full = document.encode_all().unwrap().len();
    document.limit_bytes(full);
    assert_eq!(document.apply(&more), Err(ApplyError::Refused(TooLarge)));
    let typed = patch(json!({ "title": "longer".repeat(2_000) }));
    assert_eq!(document.edit(&typed), Err(EditRefusal::TooLarge));
    document.limit_bytes(full + 100);
    assert_eq!(document.apply(&more), Ok(Applied::Changed));
    document.limit_bytes(full);
    assert_eq!(document.apply(&fewer), Ok(Applied::Changed));
}

#[test]
fn a_load_that_does_not_fit_is_broken_and_never_empty() {
    let first = first_state(11, &ContentPatch::default(), MODEL).unwrap();
    let author = Client::new(21);
    author.receive(&first);
    let typed = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "a"));
    let later = author.act(|txn| txn.get_or_insert_text("title").insert(txn, 1, "b"));
    assert!(Document::load(1, Some(&first), [typed.as_slice(), &later].into_iter()).is_ok());
    assert!(Document::load(1, Some(&first), [later.as_slice()].into_iter()).is_err());
    assert!(Document::load(1, Some(&first[..first.len() - 1]), [].into_iter()).is_err());
    assert!(Document::load(1, None, [[].as_slice()].into_iter()).is_err());
}

#[test]
fn a_reader_gets_what_it_lacks_by_its_state_vector() {
    let mut document = room();
    let reader = Client::beside(21, &document);
    let behind = document.state_vector();
    let typed = reader.act(|txn| txn.get_or_insert_text("title").insert(txn, 0, "a😀b"));
    assert!(!document.lacks(&behind).unwrap());
    let other = Client::beside(22, &document);
    document.apply(&typed).unwrap();
    assert!(document.lacks(&hex("01150a")).unwrap() && !document.lacks(&hex("011504")).unwrap());
    other.receive(&document.diff(&behind).unwrap());
    assert_eq!(other.0.transact().get_text("title").unwrap().get_string(&other.0.transact()), "a😀b");
    for half in ["011502", "011503", "0115ffffffff07", "00"] {
        assert!(document.diff(&hex(half)).is_ok(), "{half}");
    }
    for wrong in ["", "01", "ffffffff0f0101", "000000", "01018080808010"] {
        assert_eq!(document.diff(&hex(wrong)), Err(ApplyError::Refused(Malformed)), "{wrong}");
        assert_eq!(document.lacks(&hex(wrong)), Err(Malformed), "{wrong}");
    }
}

#[test]
fn merged_rows_are_the_same_document() {
    let mut document = room();
    let first = document.encode_all().unwrap();
    let author = Client::beside(21, &document);
    let mut rows = vec![first];
    for round in 0..50 {
        rows.push(author.act(|txn| txn.get_or_insert_text("title").insert(txn, round / 2, "é😀")));
        rows.push(author.act(|txn| txn.get_or_insert_text("title").remove_range(txn, round, 1)));
    }
    for row in &rows[1..] {
        document.apply(row).unwrap();
    }
    let merged = Document::merge(Some(&rows[0]), rows[1..].iter().map(Vec::as_slice)).unwrap();
    assert_eq!(merged.digest, document.digest().unwrap());
    let again = Document::merge(Some(&merged.bytes), [].into_iter()).unwrap();
    assert_eq!(again.digest, merged.digest);
    let fewer = Document::merge(Some(&rows[0]), rows[1..rows.len() - 1].iter().map(Vec::as_slice)).unwrap();
    assert_ne!(fewer.digest, merged.digest);
}

#[test]
fn garbage_of_a_stock_client_is_left_out_of_the_content() {
    let mut document = room();
    let client = Client::beside(21, &document);
    let mess = client.act(|txn| {
        let variants = txn.get_or_insert_map("variants");
        variants.insert(txn, "text", TextPrelim::new("no"));
        variants.insert(txn, "number", 7);
        let wrong = variants.insert(txn, "wrong", MapPrelim::default());
        for key in ["name", "order", "model", "params", "system", "messages"] {
            wrong.insert(txn, key, Any::from(vec![Any::Null, Any::Undefined]));
        }
        let message: MapRef = variants.get(txn, "main").unwrap().cast().unwrap();
        let params: MapRef = message.get(txn, "params").unwrap().cast().unwrap();
        params.insert(txn, "temperature", f64::NAN);
        params.insert(txn, "nested", MapPrelim::default());
        let messages: MapRef = message.get(txn, "messages").unwrap().cast().unwrap();
        let odd = messages.insert(txn, "odd", MapPrelim::default());
        odd.insert(txn, "role", "system");
        odd.insert(txn, "parts", "none");
        txn.get_or_insert_text("variants").insert(txn, 0, "😀 text in a map");
        txn.get_or_insert_map("title").insert(txn, "key", "value in a text");
        txn.get_or_insert_map("inputs").insert(txn, "x", Any::Buffer(vec![1].into()));
    });
    assert_eq!(document.apply(&mess), Ok(Applied::Changed));
    let content = document.content().unwrap();
    assert_eq!(content.title, "");
    let ids: Vec<_> = content.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["wrong", "main"]);
    assert_eq!(content.variants[0].name, "");
    assert_eq!(content.variants[1].parameters, *json!({ "temperature": null }).as_object().unwrap());
    assert_eq!(
        texts(&PromptContent { variants: content.variants[1..].to_vec(), ..content.clone() })[0].0,
        "odd"
    );
    let digest = document.digest().unwrap();
    let again = Document::load(3, Some(&document.encode_all().unwrap()), [].into_iter()).unwrap();
    assert_eq!(again.digest().unwrap(), digest);
    // An edit of ours puts right what it touches.
    let put_right =
        patch(json!({ "variants": [{ "id": "wrong", "system": "s", "messages": [{ "text": "m" }] }] }));
    document.edit(&put_right).unwrap();
    assert_eq!(document.content().unwrap().variants[0].system, "s");
}

#[test]
fn an_edit_of_ours_keeps_what_a_teammate_types_meanwhile() {
    let mut document = room();
    let start = patch(json!({ "variants": [{ "system": "Be kind, be 😀 brief." }] }));
    document.edit(&start).unwrap();
    let teammate = Client::beside(21, &document);
    let typed = teammate.act(|txn| {
        let variants = txn.get_or_insert_map("variants");
        let main: MapRef = variants.get(txn, "main").unwrap().cast().unwrap();
        let system: TextRef = main.get(txn, "system").unwrap().cast().unwrap();
        system.insert(txn, 2, " really");
    });
    let edit =
        document.edit(&patch(json!({ "variants": [{ "system": "Be kind, be 🙂 very brief." }] }))).unwrap();
    document.apply(&typed).unwrap();
    assert_eq!(document.content().unwrap().variants[0].system, "Be really kind, be 🙂 very brief.");
    teammate.receive(&edit);
    let state = Document::load(9, Some(&teammate.state()), [].into_iter()).unwrap();
    assert_eq!(state.digest().unwrap(), document.digest().unwrap());
}

#[test]
fn a_message_moved_while_a_teammate_types_in_it_keeps_both() {
    let mut document = room();
    let list = json!([{ "id": "first", "text": "one" }, { "id": "second", "text": "two" }]);
    document.edit(&patch(json!({ "variants": [{ "messages": list }] }))).unwrap();
    let teammate = Client::beside(21, &document);
    let mover = Client::beside(22, &document);
    let typed = teammate.act(|txn| message_text(txn, "second").1.insert(txn, 3, " and a half"));
    let moved = mover.act(|txn| {
        message_text(txn, "second").0.insert(txn, "order", "Zz");
    });
    let list = json!([{ "id": "second" }, { "id": "first" }, { "role": "assistant", "text": "three" }]);
    document.edit(&patch(json!({ "variants": [{ "messages": list }] }))).unwrap();
    document.apply(&typed).unwrap();
    document.apply(&moved).unwrap();
    let content = document.content().unwrap();
    let texts: Vec<_> = texts(&content).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["two and a half", "one", "three"]);
    assert_eq!(content.variants[0].messages[2].role, MessageRole::Assistant);
}

#[test]
fn an_edit_writes_everything_it_names_and_nothing_twice() {
    let mut document = room();
    let everything = patch(json!({
        "title": "Tea",
        "variants": [{ "id": "main", "name": "B", "model": "a/b", "system": "s",
            "parameters": { "temperature": 0.5, "max_tokens": 10, "stop": ["x", "y"], "seed": null },
            "messages": [{ "id": "n", "role": "assistant", "parts": [{ "kind": "text", "id": "q", "text": "t" }] }] }],
        "variables": [{ "name": "v", "type": "number", "default": "1" }, { "name": "w" }],
        "inputs": [{ "id": "default", "name": "D", "values": { "v": "2" } }],
    }));
    assert!(!document.edit(&everything).unwrap().is_empty());
    assert_eq!(document.edit(&everything).unwrap(), [0; 0]);
    let content = serde_json::to_value(document.content().unwrap()).unwrap();
    let parts = json!([{ "kind": "text", "id": "q", "text": "t" }]);
    let expected = json!({
        "title": "Tea",
        "variants": [{ "id": "main", "name": "B", "model": "a/b", "system": "s",
            "parameters": { "temperature": 0.5, "max_tokens": 10, "stop": "x\ny" },
            "messages": [{ "id": "n", "role": "assistant", "parts": parts }] }],
        "variables": [{ "name": "v", "type": "number", "default": "1" }, { "name": "w", "type": "text", "default": "" }],
        "inputs": [{ "id": "default", "name": "D", "values": { "v": "2" } }],
    });
    assert_eq!(content, expected);
    let fewer = patch(json!({
        "variants": [{ "parameters": { "stop": null }, "messages": [] }], "variables": [{ "name": "v", "deleted": true }]
    }));
    document.edit(&fewer).unwrap();
    let content = document.content().unwrap();
    assert!(content.variants[0].messages.is_empty() && content.variables.len() == 1);
    assert!(!content.variants[0].parameters.contains_key("stop"));
    let back =
        patch(json!({ "variants": [{ "messages": [{ "id": "n" }] }], "variables": [{ "name": "v" }] }));
    document.edit(&back).unwrap();
    let content = document.content().unwrap();
    assert_eq!(texts(&content), [("n".to_owned(), "t".to_owned())]);
    assert_eq!(content.variables.len(), 2);
}

#[test]
fn an_edit_that_names_what_is_not_there_changes_nothing() {
    let mut document = room();
    let before = document.digest().unwrap();
    for (wrong, says) in [
        (json!({ "variants": [{ "id": "b" }] }), "The prompt has no variant “b”."),
        (json!({ "inputs": [{ "id": "b" }] }), "The prompt has no input set “b”."),
        (json!({ "variants": [{ "parameters": { "top_p": 2 } }] }), "top_p must be a number from 0 to 1."),
        (
            json!({ "variants": [{ "messages": [{ "text": "", "parts": [] }] }] }),
            "A message takes either “text” or “parts”.",
        ),
    ] {
        assert_eq!(document.edit(&patch(wrong)).expect_err("refused").to_string(), says);
    }
    for wrong in
        [json!({ "variables": [{ "name": "a b" }] }), json!({ "inputs": [{ "values": { "": "x" } }] })]
    {
        assert!(matches!(document.edit(&patch(wrong)), Err(EditRefusal::VariableName(_))));
    }
    let twice = json!({ "variants": [{ "messages": [{ "id": "a" }, { "id": "a" }] }] });
    assert_eq!(document.edit(&patch(twice)), Err(EditRefusal::Id("a".to_owned())));
    assert!(serde_json::from_value::<ContentPatch>(json!({ "titel": "x" })).is_err());
    assert_eq!(document.digest().unwrap(), before);
}

#[test]
fn a_map_entry_that_was_overwritten_stays_known_as_deleted() {
    let mut document = room();
    let (left, right) = (Client::beside(21, &document), Client::beside(22, &document));
    let set = |txn: &mut TransactionMut<'_>, value: i64| {
        txn.get_or_insert_map("meta").insert(txn, "schema", value);
    };
    let (one, two) = (left.act(|txn| set(txn, 2)), right.act(|txn| set(txn, 3)));
    document.apply(&one).unwrap();
    document.apply(&two).unwrap();
    let client = Client::beside(23, &document);
    let txn = client.0.transact();
    assert_eq!(txn.get_map("meta").unwrap().get(&txn, "schema"), Some(Out::Any(Any::from(3))));
    assert_eq!(document.apply(&client.state()), Ok(Applied::Nothing));
}
