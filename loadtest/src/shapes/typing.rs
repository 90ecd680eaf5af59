//! People typing in many rooms at once.

use super::{Contenders, RoomLoad};
use crate::{
    bench::Lab,
    report::{Bound, Figure},
};
use anyhow::Result;

const SHAPE: &str = "typing";
const CALM: f64 = 20.0;
const BUSY: f64 = 320.0;

/// Rooms of two, twenty and two hundred.
pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let contenders = Contenders::start(lab).await?;
    let mut figures = Vec::new();
    for (rooms, members) in [(100, 2), (20, 20), (5, 200)] {
        let load = load(lab, rooms, members, CALM);
        let compared = contenders.run(lab, &load, &format!("typing-{members}")).await?;
        let name = |figure: &str| format!("{rooms} × {members} at {CALM} edits/s: {figure}");
        figures.push(compared.figure(
            SHAPE,
            name("CPU a delivery"),
            "µs",
            super::RoomOutcome::cpu_micros_per_delivery,
        ));
        figures.push(
            compared
                .figure(SHAPE, name("p99"), "ms", |round| round.latency.p99_ms())
                .note(compared.note(&load)),
        );
    }

    Ok(figures)
}

/// Fifty rooms of ten, calm and busy.
pub async fn measure_many(lab: &Lab) -> Result<Vec<Figure>> {
    let contenders = Contenders::start(lab).await?;
    let mut figures = Vec::new();
    let calm = load(lab, 50, 10, CALM);
    let compared = contenders.run(lab, &calm, "typing-calm").await?;
    let name = |figure: &str| format!("50 × 10 at {CALM} edits/s: {figure}");
    let cpu = compared.figure(SHAPE, name("CPU"), "%", |round| percent(round, &calm));
    figures.push(cpu.required(Bound::TimesRelay(1.6)).goal(Bound::TimesRelay(1.3)));
    let p99 = compared.figure(SHAPE, name("p99"), "ms", |round| round.latency.p99_ms());
    figures.push(p99.required(Bound::AtMost(3.0)).goal(Bound::AtMost(1.0)));
    figures.push(compared.figure(SHAPE, name("p50"), "ms", |round| round.latency.p50_ms()));
    figures.push(saved(&compared, name("saved p99")).note(compared.note(&calm)));

    let busy = load(lab, 50, 10, BUSY);
    let compared = contenders.run(lab, &busy, "typing-busy").await?;
    let name = |figure: &str| format!("50 × 10 at {BUSY} edits/s: {figure}");
    figures.push(compared.figure(SHAPE, name("CPU"), "%", |round| percent(round, &busy)));
    let p99 = compared.figure(SHAPE, name("p99"), "ms", |round| round.latency.p99_ms());
    figures.push(p99.goal(Bound::AtMost(50.0)));
    let lost = compared.figure(SHAPE, name("edits lost"), "", |round| round.lost as f64);
    figures.push(lost.goal(Bound::AtMost(0.0)));
    figures.push(saved(&compared, name("saved p99")).note(compared.note(&busy)));
    Ok(figures)
}

fn load(lab: &Lab, rooms: usize, members: usize, edits_per_second: f64) -> RoomLoad {
    let (warm_up, window) = (lab.warm_up, lab.window);
    RoomLoad { rooms, members, writers: members, edits_per_second, warm_up, window }
}

fn percent(round: &super::RoomOutcome, load: &RoomLoad) -> f64 {
    100.0 * round.cpu().as_secs_f64() / load.window.as_secs_f64()
}

/// The relay saves nothing, so nothing stands beside it.
fn saved(compared: &super::Compared, name: String) -> Figure {
    compared.figure(SHAPE, name, "ms", |round| round.saved.p99_ms()).beside(None, None)
}
