//! The balancer that the compose file brings: a room's people meet on one node, a node that drains is passed over, and
//! nobody can say that they are somebody else.

use super::{PROMPT, make_prompt};
use anyhow::{Result, ensure};
use promptroom_protocol::Role;
use promptroom_tests::{Api, Balancer, Cluster, ClusterSettings, Traveller, http_client_from, is_away};
use reqwest::StatusCode;
use serde_json::json;
use std::{net::Ipv4Addr, time::Duration};

/// That all of them fall to one node by chance happens once in two thousand keys, and the keys are always these.
const ROOMS: usize = 12;
/// Of plain requests while a node goes and comes.
const REQUESTS: usize = 50;
const GUESSES: usize = 12;

async fn behind_a_balancer() -> Result<(Cluster, Balancer)> {
    let settings = ClusterSettings::default()
        .environment("PROMPTROOM_TRUSTED_PROXIES", "127.0.0.1")
        .environment("PROMPTROOM_DRAIN_S", 1);
    let cluster = settings.start(2).await?;
    let nodes = [cluster.node(0).server.address(), cluster.node(1).server.address()];
    let balancer = Balancer::before(&nodes).await?;
    Ok((cluster, balancer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_one_room_meet_on_one_node_and_a_draining_one_is_passed_over() -> Result<()> {
    let (mut cluster, balancer) = behind_a_balancer().await?;
    let token = cluster.token(Role::Editor)?;
    let api = Api::new(balancer.http(), token.clone());
    make_prompt(&api).await?;
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let slug = format!("room-{number}");
        let ann = Traveller::join(&balancer.ws(), &slug, &token).await?;
        let bob = Traveller::join(&balancer.ws(), &slug, &token).await?;
        rooms.push((slug, ann, bob));
    }
    cluster.node(0).server.ask_to_stop()?;
    ensure!(cluster.node_mut(0).server.ended().await?.success());
    let mut moved = 0;
    for (slug, ann, bob) in &mut rooms {
        let (ann_is_away, bob_is_away) = (is_sent_away(ann).await?, is_sent_away(bob).await?);
        ensure!(ann_is_away == bob_is_away, "two in {slug} were on two nodes");
        if ann_is_away {
            moved += 1;
            ann.arrive(&balancer.ws()).await?;
            bob.arrive(&balancer.ws()).await?;
        }
        ann.write_saved("ann").await?;
        bob.until_seen("ann").await?;
    }
    ensure!((1..ROOMS).contains(&moved), "{moved} of {ROOMS} rooms were on the node that went");
    // Nobody is sent to the node that is away, nor refused while it comes back.
    for _ in 0..REQUESTS {
        api.get(&format!("/prompts/{PROMPT}")).await?;
    }
    cluster.node_mut(0).server.start_unready()?;
    for _ in 0..REQUESTS {
        api.get(&format!("/prompts/{PROMPT}")).await?;
    }
    cluster.node_mut(0).server.until_ready().await
}

/// Whether their connection has ended for now; whoever's has not can still write.
async fn is_sent_away(person: &mut Traveller) -> Result<bool> {
    match person.write_saved("still here").await {
        Ok(()) => Ok(false),
        Err(error) => {
            ensure!(is_away(&error), "sent away for good: {error:#}");
            person.leave();
            Ok(true)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_links_through_the_balancer_is_counted_by_their_own_address() -> Result<()> {
    let (_cluster, balancer) = behind_a_balancer().await?;
    let guesser = Ipv4Addr::new(127, 0, 0, 2);
    let mut refused = 0;
    for number in 0..2 * GUESSES {
        // Each time with another name, as if that were believed.
        let status = guess(&balancer, guesser, &format!("198.51.100.{number}")).await?;
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    ensure!(refused > 0, "{} guesses from one address", 2 * GUESSES);
    let other = guess(&balancer, Ipv4Addr::new(127, 0, 0, 3), &guesser.to_string()).await?;
    ensure!(other != StatusCode::TOO_MANY_REQUESTS, "somebody else is locked out");
    Ok(())
}

async fn guess(balancer: &Balancer, from: Ipv4Addr, pretends: &str) -> Result<StatusCode> {
    let client = http_client_from(from);
    let request = client.post(format!("{}/api/v1/session", balancer.http()));
    let request = request.header("origin", balancer.http()).header("x-forwarded-for", pretends);
    let body = json!({ "link": "no-such-link" });
    Ok(request.json(&body).timeout(Duration::from_secs(10)).send().await?.status())
}
