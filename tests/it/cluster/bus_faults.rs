//! What happens to Redis, and to the line to it, makes nodes slower to hear of each other, and nothing else.

use super::{PROMPT, an_editor, ann_and_bob, crosses_in_time};
use anyhow::{Result, ensure};
use promptroom_protocol::Role;
use promptroom_tests::{Cluster, Postgres, Redis, ServerSettings, Traveller, Way, free_address};
use std::{process::Command, time::Duration};
use tokio::time::Instant;

/// Redis is back for so long when its speed has to be, too.
const HEALS_WITHIN: Duration = Duration::from_secs(2);
/// Much less than the half second between two looks at the database.
const FAST: Duration = Duration::from_millis(200);
/// Of so many edits one after the other all are fast only if the database is not what brought them.
const FAST_IN_A_ROW: u32 = 4;

/// While `hurt` lasts, and after it is healed, edits cross within a second in both directions.
async fn crosses_through(
    cluster: &mut Cluster,
    hurt: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
    heal: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    let token = an_editor(cluster)?;
    let (mut ann, mut bob) = ann_and_bob(cluster, &token).await?;
    cross(&mut ann, &mut bob, "before").await?;
    hurt(cluster).await?;
    cross(&mut ann, &mut bob, "hurt").await?;
    heal(cluster).await?;
    cross(&mut ann, &mut bob, "healed").await?;
    bob.until_same_as(&mut ann).await
}

async fn cross(ann: &mut Traveller, bob: &mut Traveller, when: &str) -> Result<()> {
    for number in 0..4 {
        crosses_in_time(ann, bob, &format!("{when}.ann.{number}")).await?;
        crosses_in_time(bob, ann, &format!("{when}.bob.{number}")).await?;
    }
    Ok(())
}

/// 13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_comes_back_costs_nothing_but_speed_while_it_is_away() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let kill = async |cluster: &mut Cluster| cluster.redis.kill();
    crosses_through(&mut cluster, kill, async |cluster| cluster.redis.start_again().await).await?;
    let healed_at = Instant::now();
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    until_fast(&mut ann, &mut bob).await?;
    let after = healed_at.elapsed().saturating_sub(FAST * FAST_IN_A_ROW);
    ensure!(after <= HEALS_WITHIN, "fast again only {after:?} after Redis came back");
    Ok(())
}

/// Reads until edits cross faster than the database alone would bring them.
async fn until_fast(from: &mut Traveller, to: &mut Traveller) -> Result<()> {
    let mut in_a_row = 0;
    let mut number = 0;
    while in_a_row < FAST_IN_A_ROW {
        let started = Instant::now();
        crosses_in_time(from, to, &format!("fast.{number}")).await?;
        in_a_row = if started.elapsed() <= FAST { in_a_row + 1 } else { 0 };
        number += 1;
        ensure!(number < 200, "not one stretch of {FAST_IN_A_ROW} fast edits");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_of_each_other_over_tls() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (key, certificate) = (home.path().join("key.pem"), home.path().join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-config",
        "/dev/null",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    let port = free_address()?.port().to_string();
    let with_tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let with_tls =
        [&with_tls[..], &["--tls-ca-cert-file", &certificate, "--tls-auth-clients", "no"]].concat();
    let (postgres, redis) = tokio::try_join!(Postgres::start(), Redis::start_with(&with_tls))?;
    let settings = ServerSettings::default()
        .environment("PROMPTROOM_DATABASE_URL", postgres.url())
        .environment("PROMPTROOM_REDIS_URL", format!("rediss://127.0.0.1:{port}"))
        .environment("PROMPTROOM_SECRET_KEY", "00".repeat(32))
        .environment("SSL_CERT_FILE", &certificate);
    let (here, there) = (settings.clone().start().await?, settings.start().await?);
    let token = here.token(Role::Editor)?;
    let mut ann = Traveller::join(&here.ws(), PROMPT, &token).await?;
    let mut bob = Traveller::join(&there.ws(), PROMPT, &token).await?;
    until_fast(&mut ann, &mut bob).await?;
    drop(redis);
    crosses_in_time(&mut bob, &mut ann, "without it").await
}

/// 14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_not_noticed() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    crosses_through(&mut cluster, async |cluster| cluster.redis.flush_all(), async |_| Ok(())).await
}

/// 15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_redis_drops_misses_nothing() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let drop_all = async |cluster: &mut Cluster| {
        let dropped = cluster.redis.kill_subscribers()?;
        ensure!(dropped > 0, "nobody had subscribed");
        Ok(())
    };
    crosses_through(&mut cluster, drop_all, async |_| Ok(())).await
}

/// 15: an output buffer so small that the next large edit overflows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_whose_output_buffer_overflows_misses_nothing() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    cluster.redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 16384 16384 1"])?;
    for number in 0..5 {
        let large = format!("{number} {}", "x".repeat(60_000));
        crosses_in_time(&mut ann, &mut bob, &large).await?;
        crosses_in_time(&mut bob, &mut ann, &format!("small {number}")).await?;
    }
    bob.until_same_as(&mut ann).await
}

/// 16: messages in flight are lost with the connection; nobody sends them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_lost_on_its_way_is_made_up_for_within_a_second() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    for number in 0..6 {
        let line = &cluster.node(1).to_redis;
        line.hold(Way::ToClient);
        let started = Instant::now();
        ann.write_saved(&format!("lost.{number}")).await?;
        line.cut();
        line.open();
        bob.until_seen(&format!("lost.{number}")).await?;
        ensure!(started.elapsed() <= super::APART_MAX, "seen after {:?}", started.elapsed());
    }
    Ok(())
}

/// 17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_to_redis_that_works_in_one_direction_only_is_survived_in_both_directions() -> Result<()> {
    for way in [Way::ToClient, Way::ToServer] {
        let mut cluster = Cluster::of(2).await?;
        let hold = async |cluster: &mut Cluster| {
            cluster.node(0).to_redis.hold(way);
            Ok(())
        };
        let open = async |cluster: &mut Cluster| {
            cluster.node(0).to_redis.open();
            Ok(())
        };
        crosses_through(&mut cluster, hold, open).await?;
    }
    Ok(())
}

/// 17: between a node and Postgres. What it does is not saved until the line is whole, and then once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_to_postgres_that_works_in_one_direction_only_saves_late_and_once() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    for (number, way) in [Way::ToClient, Way::ToServer].into_iter().enumerate() {
        cluster.node(0).to_postgres.hold(way);
        ann.write(&format!("held.{number}")).await?;
        // The other node is not concerned.
        bob.write_saved(&format!("free.{number}")).await?;
        ensure!(ann.has_unsaved(), "saved over a line without answers");
        cluster.node(0).to_postgres.open();
        ann.until_saved().await?;
    }
    bob.until_same_as(&mut ann).await?;
    let text = Traveller::join(&cluster.ws(1), PROMPT, &token).await?.text();
    ensure!(text.matches("<held.").count() == 2, "{text}");
    Ok(())
}

/// 13: Redis stands still, so that nobody is told that it is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_slows_nobody_down_by_more_than_a_second() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let freeze = async |cluster: &mut Cluster| cluster.redis.suspend();
    crosses_through(&mut cluster, freeze, async |cluster| cluster.redis.resume()).await
}
