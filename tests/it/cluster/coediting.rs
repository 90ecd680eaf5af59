//! Two nodes, one room.

use super::{PROMPT, an_editor, ann_and_bob, crosses_in_time};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::tasks::Tasks;
use promptroom_protocol::ServerFrame;
use promptroom_tests::{Cluster, ClusterSettings, Traveller, markers_in, rounds, seeded, until, yjs_text};
use rand::RngExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_on_two_nodes_type_in_one_room_and_see_each_other() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    for number in 0..20 {
        crosses_in_time(&mut ann, &mut bob, &format!("ann {number}")).await?;
        crosses_in_time(&mut bob, &mut ann, &format!("bob {number}")).await?;
    }
    ann.erase(3).await?;
    bob.until_same_as(&mut ann).await?;
    ensure!(yjs_text(&bob.document().encoded(), "load")? == ann.text(), "a replay in Yjs differs");

    // Presence crosses too, with the name that the other node has checked.
    let id = ann.client()?.client_id();
    ann.client()?.present(r#"{"caret":1}"#).await?;
    let is_ann = |frame: &ServerFrame<'_>| match frame {
        ServerFrame::Person(person) => (person.client == Some(id)).then_some(()),
        _ => None,
    };
    bob.client()?.wait_for("who the client id belongs to", is_ann).await?;
    Ok(())
}

/// 9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_open_a_cold_room_on_two_nodes_at_once_are_in_one_history() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    Traveller::join(&cluster.ws(0), PROMPT, &token).await?.write_saved("first").await?;
    for number in 0..2 {
        let server = &mut cluster.node_mut(number).server;
        server.kill()?;
        server.start().await?;
    }
    let mut visitors = Tasks::default();
    for number in 0..40 {
        let (door, token) = (cluster.ws(number % 2), token.clone());
        visitors.start(async move {
            let mut visitor = Traveller::join(&door, PROMPT, &token).await?;
            ensure!(visitor.text().contains("<first>"), "an empty room was served");
            visitor.write_saved(&format!("visitor {number}")).await
        });
    }
    visitors.all().await?;
    for door in cluster.doors() {
        let mut reader = Traveller::join(&door, PROMPT, &token).await?;
        reader.until("all visitors", |reader| markers_in(&reader.text()).len() == 41).await?;
    }
    Ok(())
}

/// 9: a room that nobody has made yet, asked for on two nodes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_two_nodes_make_at_once_is_one_room() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    for round in 0..10 {
        let prompt = format!("new-{round}");
        let (here, there) = (cluster.ws(0), cluster.ws(1));
        let (ann, bob) =
            tokio::join!(Traveller::join(&here, &prompt, &token), Traveller::join(&there, &prompt, &token));
        let (mut ann, mut bob) = (ann?, bob?);
        crosses_in_time(&mut ann, &mut bob, "ann").await?;
        crosses_in_time(&mut bob, &mut ann, "bob").await?;
        ensure!(ann.document().is_same(bob.document()));
    }
    Ok(())
}

/// 10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_is_left_and_entered_on_the_other_node_keeps_all_that_was_typed() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_ROOM_IDLE_MS", 1);
    let cluster = settings.start(2).await?;
    let token = an_editor(&cluster)?;
    for round in 0..40 {
        let mut ann = Traveller::join(&cluster.ws(round % 2), PROMPT, &token).await?;
        let found = markers_in(&ann.text()).len();
        ensure!(found == round, "round {round}: {found} markers");
        ann.write_saved(&round.to_string()).await?;
    }
    Ok(())
}

/// 43: somebody takes an unsaved edit of one node along to the other, where it is saved with what rests on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_node_calls_saved_rests_on_nothing_that_dies_with_this_one() -> Result<()> {
    let mut random = seeded();
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let mut saved = Vec::new();
    for round in 0..rounds(4) {
        let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
        let mut dora = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
        // Nothing of what node 0 shows its own people can be committed from now on.
        cluster.node(0).to_postgres.stall();
        for number in 0..5 {
            ann.write(&format!("{round}.ann.{number}")).await?;
        }
        dora.until_seen(&format!("{round}.ann.4")).await?;
        ensure!(ann.has_unsaved(), "round {round}: saved although nothing could be");
        let (first, second) = (format!("{round}.dora.1"), format!("{round}.dora.2"));
        dora.leave();
        let _not_connected = dora.write(&first).await;
        dora.arrive(&cluster.ws(1)).await?;
        dora.write(&second).await?;
        dora.until_saved().await?;
        // The kill finds node 0 at another point each time.
        sleep(Duration::from_millis(random.random_range(0..20))).await;
        cluster.node_mut(0).server.kill()?;
        cluster.node(0).to_postgres.open();
        cluster.node_mut(0).server.start().await?;
        saved.extend([first, second]);
        for door in cluster.doors() {
            // An update that rests on what is not there would be an error here.
            let reader = Traveller::join(&door, PROMPT, &token).await?;
            let text = reader.text();
            let found = markers_in(&text);
            for marker in saved.iter().map(String::as_str) {
                ensure!(found.get(marker) == Some(&1), "round {round}: {marker} {:?}", found.get(marker));
            }
            // What it rests on came with it.
            ensure!(found.contains_key(format!("{round}.ann.4").as_str()), "round {round}: {text}");
            ensure!(yjs_text(&reader.document().encoded(), "load")? == text);
        }
    }
    Ok(())
}

/// A newcomer on a node that has the room open gets what the others have committed by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_http_holds_all_that_is_saved_on_any_node() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, _bob) = ann_and_bob(&cluster, &token).await?;
    for number in 0..20 {
        let title = format!("title {number}");
        cluster
            .api(0, &token)
            .patch(&format!("/prompts/{PROMPT}"), &serde_json::json!({"title": title}))
            .await?;
        let read = cluster.api(1, &token).get(&format!("/prompts/{PROMPT}")).await?;
        let found = read["content"]["title"].as_str().or(read["title"].as_str()).context("a title")?;
        ensure!(found == title, "{found} is not {title}: {read}");
    }
    let started = Instant::now();
    ann.write_saved("still here").await?;
    until("the edit on the other node", async || {
        let reader = Traveller::join(&cluster.ws(1), PROMPT, &token).await?;
        Ok(reader.text().contains("<still here>").then_some(()))
    })
    .await?;
    ensure!(started.elapsed() < 2 * super::APART_MAX, "{:?}", started.elapsed());
    Ok(())
}
