//! Several nodes, one database: what people on different nodes see of each other, with the bus and without it.

mod world;

use crate::bus::{Bus, Local};
use crate::domain::{document::Document, refusal::Refusal};
use crate::live::{clock::now_ms, room::ToRoom};
use crate::store::{CommitOutcome, RoomRows, SecretHash};
use promptroom_protocol::{Role, Seq};
use tokio::time::timeout;
use world::{Client, Node, PATIENCE, World, same};

/// Two nodes that hear each other.
async fn pair(world: &World) -> (Node, Node) {
    let (first, at_first) = Local::alone();
    let (second, at_second) = first.join();
    let here = Node::start(world, Bus::Local(first), Some(at_first)).await;
    (here, Node::start(world, Bus::Local(second), Some(at_second)).await)
}

/// Two nodes that know of each other, of which nothing gets through.
async fn deaf_pair(world: &World) -> (Node, Node) {
    let (first, _) = Local::alone();
    let (second, _) = first.join();
    (Node::start(world, Bus::Local(first), None).await, Node::start(world, Bus::Local(second), None).await)
}

/// Both type alternately, without waiting for each other.
async fn type_together(ann: &mut Client, bob: &mut Client, count: usize) {
    for _ in 0..count {
        ann.types("a").await;
        bob.types("b").await;
        ann.read();
        bob.read();
    }
}

fn typed(client: &Client, count: usize) -> bool {
    let title = client.title();
    title.matches('a').count() == count && title.matches('b').count() == count
}

async fn converge(world: &World, here: &Node, there: &Node) {
    let (mut ann, mut bob) = (here.enter(&world.ann, 11).await, there.enter(&world.bob, 12).await);
    type_together(&mut ann, &mut bob, 30).await;
    ann.until(|ann| typed(ann, 30)).await;
    bob.until(|bob| typed(bob, 30)).await;
    ann.until_saved().await;
    bob.until_saved().await;
    let head = world.head().await;
    for client in [&mut ann, &mut bob] {
        timeout(PATIENCE, client.room.until_head(head)).await.expect("in time").expect("caught up");
        client.read();
        assert_eq!(client.head, head, "it was sent every row, its own among them");
        assert_eq!(client.member.saved_so_far(), 30);
    }
    assert!(same(&[&ann.document, &bob.document, &world.stored().await]));
}

#[tokio::test]
async fn people_on_two_nodes_write_together_and_end_with_the_same() {
    let world = World::new().await;
    let (here, there) = pair(&world).await;
    converge(&world, &here, &there).await;
}

#[tokio::test]
async fn without_any_note_nodes_follow_each_other_by_the_store_alone() {
    let world = World::new().await;
    let (here, there) = deaf_pair(&world).await;
    converge(&world, &here, &there).await;
}

#[tokio::test]
async fn a_third_node_that_opens_the_room_while_others_write_misses_nothing() {
    let world = World::new().await;
    let (first, at_first) = Local::alone();
    let (second, at_second) = first.join();
    let (third, at_third) = first.join();
    let here = Node::start(&world, Bus::Local(first), Some(at_first)).await;
    let there = Node::start(&world, Bus::Local(second), Some(at_second)).await;
    let late = Node::start(&world, Bus::Local(third), Some(at_third)).await;
    let (mut ann, mut bob) = (here.enter(&world.ann, 11).await, there.enter(&world.bob, 12).await);
    let writing = type_together(&mut ann, &mut bob, 40);
    let (mut cid, ()) = tokio::join!(late.enter(&world.bob, 13), writing);
    for client in [&mut ann, &mut bob, &mut cid] {
        client.until(|client| typed(client, 40)).await;
    }
    assert!(same(&[&ann.document, &bob.document, &cid.document]));
}

#[tokio::test]
async fn an_edit_that_lands_behind_rows_which_nobody_told_of_is_saved_and_the_rows_come() {
    let world = World::new().await;
    let (here, there) = deaf_pair(&world).await;
    let mut ann = here.enter(&world.ann, 11).await;
    let mut elsewhere = there.enter(&world.bob, 12).await;
    let update = elsewhere.holds_back("b");
    let rows = RoomRows {
        base: Seq(1),
        prompt: world.prompt,
        lineage: world.lineage,
        rights_epoch: here.store.workspace().await.unwrap().rights_epoch,
        rows: vec![update.into()],
        title: None,
        now_ms: now_ms(),
    };
    let committed = there.store.commit(&[rows]).await.unwrap();
    assert!(matches!(committed[..], [CommitOutcome::Committed { first: Seq(2), .. }]));
    ann.types("a").await;
    ann.until_saved().await;
    ann.until(|ann| typed(ann, 1)).await;
    ann.room.until_head(Seq(3)).await.unwrap();
    ann.read();
    assert_eq!((ann.head, world.head().await), (Seq(3), Seq(3)));
    elsewhere.until(|bob| typed(bob, 1)).await;
    assert!(same(&[&ann.document, &elsewhere.document, &world.stored().await]));
}

#[tokio::test]
async fn rows_that_come_out_of_order_doubled_or_of_another_history_do_no_harm() {
    let world = World::new().await;
    let (here, there) = deaf_pair(&world).await;
    let (mut ann, mut bob) = (here.enter(&world.ann, 11).await, there.enter(&world.bob, 12).await);
    let mut rows = Vec::new();
    for text in ["a", "b", "c"] {
        let update = ann.holds_back(text);
        rows.push(bytes::Bytes::from(update.clone()));
        ann.sends(update, false).await;
        ann.until_saved().await;
    }
    let told = |first: u64, rows: &[bytes::Bytes], lineage| ToRoom::Rows {
        lineage,
        first: Seq(first),
        rows: rows.to_vec(),
    };
    let other = promptroom_protocol::LineageId(uuid::Uuid::nil());
    for message in [
        told(2, &rows[1..], other),
        told(4, &rows[2..], world.lineage),
        told(3, &rows[1..], world.lineage),
        told(2, &rows[..1], world.lineage),
        told(2, &rows, world.lineage),
        told(5, &[], world.lineage),
        told(u64::MAX, &rows, world.lineage),
    ] {
        bob.room.send(message).await.unwrap();
    }
    bob.until(|bob| bob.title() == "-abc").await;
    bob.until_saved().await;
    assert!(!bob.room.is_ended() && same(&[&ann.document, &bob.document]));
    // Row 2 with what row 3 holds: one of the two is not in the database.
    bob.room.send(told(2, &rows[1..2], world.lineage)).await.unwrap();
    assert_eq!(bob.until_closed().await, Refusal::RoomRestarted);
}

#[tokio::test]
async fn whoever_comes_back_to_another_node_with_the_row_it_was_told_of_gets_the_rows_after_it() {
    let world = World::new().await;
    let (here, there) = pair(&world).await;
    let mut ann = here.enter(&world.ann, 11).await;
    ann.types("a").await;
    ann.until_saved().await;
    ann.room.until_head(Seq(2)).await.unwrap();
    ann.read();
    assert_eq!(ann.head, Seq(2));
    let mut bob = there.enter(&world.bob, 12).await;
    bob.until(|bob| bob.title() == "-a").await;
    bob.types("b").await;
    bob.until_saved().await;
    let Client { document, head, .. } = ann;
    let ann = there.enter_with(&world.ann, 11, document, Some(head), None).await;
    assert!(ann.by_rows, "not the difference, which would carry every deletion");
    assert!(same(&[&ann.document, &bob.document]));
}

/// An edit on node B that rests on one that node A has shown only to its own people, A killed (ABUSE 43).
#[tokio::test]
async fn nothing_is_saved_on_one_node_that_rests_on_what_another_has_only_shown() {
    let world = World::new().await;
    let (first, at_first) = Local::alone();
    let (second, at_second) = first.join();
    let here = Node::start_unwriting(&world, Bus::Local(first), at_first).await;
    let there = Node::start(&world, Bus::Local(second), Some(at_second)).await;
    let (mut ann, mut bob) = (here.enter(&world.ann, 11).await, here.enter(&world.bob, 12).await);
    ann.types("unsaved").await;
    bob.until(|bob| bob.title() == "-unsaved").await;
    let resting = bob.holds_back(" and on top of it");
    let bare =
        |document: &Document| Document::load(12, None, [&document.encode_all().unwrap()[..]].into_iter());
    // The node dies; he meets somebody on the other one, and sends first only what he typed last.
    let kept = bare(&bob.document).unwrap();
    let mut eve = there.enter(&world.ann, 13).await;
    let mut bob = there.enter_with(&world.bob, 12, bob.document, None, None).await;
    bob.sends(resting, false).await;
    assert_eq!(bob.until_closed().await, Refusal::EditOutOfStep);
    assert_eq!((world.head().await, world.stored().await.title().unwrap()), (Seq(1), "-".to_owned()));
    // As every client does he then sends all that the server lacks, Ann's edit among it, and that is saved.
    let whole = kept.encode_all().unwrap();
    let mut bob = there.enter_with(&world.bob, 12, kept, None, None).await;
    bob.sends(whole, true).await;
    eve.until(|eve| eve.title() == "-unsaved and on top of it").await;
    bob.until_saved().await;
    assert!(same(&[&eve.document, &bob.document, &world.stored().await]));
}

#[tokio::test]
async fn a_read_on_one_node_holds_what_was_saved_on_another_just_before() {
    let world = World::new().await;
    let (here, there) = deaf_pair(&world).await;
    there.hub.read(world.prompt).await.unwrap();
    let mut ann = here.enter(&world.ann, 11).await;
    for number in 1..=5 {
        ann.types("a").await;
        ann.until_saved().await;
        let read = there.hub.read(world.prompt).await.unwrap();
        assert_eq!(read.title, format!("-{}", "a".repeat(number)));
    }
}

#[tokio::test]
async fn people_on_another_node_are_seen_by_name_and_gone_when_they_leave() {
    let world = World::new().await;
    let (here, there) = pair(&world).await;
    let mut ann = here.enter(&world.ann, 11).await;
    ann.shows(r#"{"caret":1}"#).await;
    let mut bob = there.enter(&world.bob, 12).await;
    bob.shows(r#"{"caret":2}"#).await;
    let name = world.bob.id;
    ann.until(|ann| ann.people.get(&12) == Some(&name)).await;
    ann.until(|ann| ann.present.get(&12).is_some_and(|state| state.contains('2'))).await;
    let name = world.ann.id;
    // Told because the room was opened there later.
    bob.until(|bob| bob.people.get(&11) == Some(&name) && bob.present.contains_key(&11)).await;
    assert_eq!((ann.room.people(), bob.room.people()), (2, 2));
    let late = there.enter(&world.ann, 14).await;
    assert_eq!(late.people.get(&11), Some(&name));
    bob.leaves().await;
    ann.until(|ann| ann.present.get(&12).is_some_and(|state| state == "null")).await;
}

#[tokio::test]
async fn a_lowered_role_reaches_the_sockets_of_every_node_with_the_bus_and_without() {
    for deaf in [false, true] {
        let world = World::new().await;
        let (here, there) = if deaf { deaf_pair(&world).await } else { pair(&world).await };
        let bob = there.enter(&world.bob, 12).await;
        here.store.set_role(world.bob.id, Role::Viewer).await.unwrap();
        here.authority.look().await.unwrap();
        assert_eq!(bob.until_closed().await, Refusal::RightsChanged);
        assert!(!bob.member.rights().edit);
    }
}

#[tokio::test]
async fn a_session_that_has_ended_ends_its_sockets_when_rights_are_looked_at() {
    let world = World::new().await;
    let (here, there) = pair(&world).await;
    let session = SecretHash([7; 32]);
    let ann = there.enter_as(&world.ann, 11, Some(session)).await;
    let token = there.enter(&world.ann, 12).await;
    here.store.set_role(world.bob.id, Role::Viewer).await.unwrap();
    here.authority.look().await.unwrap();
    assert_eq!(ann.until_closed().await, Refusal::SignInNeeded);
    assert_eq!(token.member.closed(), None);
}

#[tokio::test]
async fn a_prompt_deleted_on_one_node_is_gone_on_the_other() {
    let world = World::new().await;
    let (here, there) = deaf_pair(&world).await;
    let mut bob = there.enter(&world.bob, 12).await;
    here.store.delete_prompt(world.prompt, world.ann.id, now_ms()).await.unwrap();
    bob.types("b").await;
    assert_eq!(bob.until_closed().await, Refusal::PromptDeleted);
}
