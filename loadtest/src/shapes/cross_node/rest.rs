//! Open rooms in which nothing happens: what nodes ask the database for all the time.

use super::{SHAPE, Used, micros};
use crate::{
    bench::Lab,
    cluster::Cluster,
    report::Figure,
    shapes::{RoomLoad, cpus_of, join_all, used_since},
};
use anyhow::Result;
use std::time::Duration;
use tokio::time::sleep;

const ROOMS: usize = 1_000;
/// What joining left to do is done by then, and the rooms' documents rest.
const SETTLE: Duration = Duration::from_secs(12);

pub(super) async fn measure(lab: &Lab, alone: &Cluster, pair: &Cluster) -> Result<Vec<Figure>> {
    let (one, two) = (rest(lab, alone).await?, rest(lab, pair).await?);
    let beside = |figure: &str, value: fn(&Used) -> Duration| {
        let per_second = |used: &Used| micros(value(used)) / lab.window.as_secs_f64() / ROOMS as f64;
        Figure::new(
            SHAPE,
            format!("{ROOMS} open rooms at rest: {figure} a room and second"),
            "µs",
            per_second(&two),
        )
        .beside(Some(per_second(&one)), None)
    };
    Ok(vec![
        beside("CPU of the nodes", |used| used.nodes),
        beside("CPU of Postgres", |used| used.postgres)
            .note("one member in each, on one of the nodes; what the nodes use at rest is included"),
        beside("CPU of Redis", |used| used.redis),
    ])
}

async fn rest(lab: &Lab, cluster: &Cluster) -> Result<Used> {
    let load = RoomLoad {
        rooms: ROOMS,
        members: 1,
        writers: 0,
        edits_per_second: 0.0,
        warm_up: SETTLE,
        window: lab.window,
    };
    let members = join_all(&load, &cluster.target(), "rest").await?;
    sleep(SETTLE).await;
    let before = cpus_of(&cluster.accounts())?;
    sleep(lab.window).await;
    let after = cpus_of(&cluster.accounts())?;
    drop(members);
    let mut used = Used::default();
    used.add(&used_since(&before, &after));
    Ok(used)
}
