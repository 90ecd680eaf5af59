//! How long an author waits to know that an edit is durable, beside what the disk itself takes.

use super::{RoomLoad, run_rooms};
use crate::{
    bench::Lab,
    disk::time_commits,
    latency::median,
    report::{Bound, Figure},
};
use anyhow::Result;

const SHAPE: &str = "saved";
const COMMITS: usize = 300;

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let Some(subject) = lab.subject().await? else {
        let disk = time_commits(&lab.scratch(), COMMITS).await?;
        return Ok(disk_rows(disk.p50_ms(), disk.p99_ms()));
    };
    let load = RoomLoad {
        rooms: 10,
        members: 4,
        writers: 4,
        edits_per_second: 20.0,
        warm_up: lab.warm_up,
        window: lab.window,
    };
    let (mut disk_p50, mut disk_p99, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut marks = 0;
    for round in 0..lab.rounds {
        let disk = time_commits(subject.data_dir(), COMMITS).await?;
        disk_p50.push(disk.p50_ms());
        disk_p99.push(disk.p99_ms());
        let outcome =
            run_rooms(&load, &subject.target(), &[subject.process.account()], &format!("saved-{round}"))
                .await?;
        marks += outcome.saved.count();
        p50.push(outcome.saved.p50_ms());
        p99.push(outcome.saved.p99_ms());
    }
    let (disk_p50, disk_p99, p50, p99) = (median(disk_p50), median(disk_p99), median(p50), median(p99));
    let note = format!(
        "{} rooms × {} typing at {} edits/s a room, {marks} marks",
        load.rooms, load.members, load.edits_per_second
    );
    let mut figures = disk_rows(disk_p50, disk_p99);
    figures.push(Figure::new(SHAPE, "saved mark p50", "ms", p50));
    figures.push(Figure::new(SHAPE, "saved mark p99", "ms", p99).goal(Bound::AtMost(10.0)).note(note));
    let over = Figure::new(SHAPE, "saved mark p99 over a bare commit's p99", "ms", p99 - disk_p99);
    figures.push(if marks > 0 {
        over.required(Bound::AtMost(10.0))
    } else {
        over.note("the members get no saved marks")
    });
    Ok(figures)
}

fn disk_rows(p50: f64, p99: f64) -> Vec<Figure> {
    vec![
        Figure::new(SHAPE, "bare commit (write + fdatasync) p50", "ms", p50),
        Figure::new(SHAPE, "bare commit (write + fdatasync) p99", "ms", p99),
    ]
}
