//! Runs shapes one after the other and prints one table.

use crate::{
    cluster::Cluster,
    process,
    report::{Figure, table},
    shapes::Shape,
    subject::{Subject, SubjectOptions},
    upstream::Upstream,
};
use anyhow::{Result, bail};
use serde_json::json;
use std::{path::PathBuf, time::Duration};

pub const TOKENS_PER_SECOND: u32 = 50;
/// Above it something else runs on this machine.
const LOAD_AVERAGE_QUIET: f64 = 0.7;
const OPEN_FILES_LEAST: u64 = 1_024;
/// Beyond the window: for starting many runs, and for ending them.
const RUN_SPARE: Duration = Duration::from_secs(30);
const SHAPE_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What is measured, and how long.
#[derive(Debug)]
pub struct Lab {
    /// Without it only the references are measured.
    pub subject: Option<SubjectOptions>,
    pub upstream: Upstream,
    pub quick: bool,
    pub rounds: usize,
    pub warm_up: Duration,
    pub window: Duration,
    /// How long the slow reader does not read.
    pub stall: Duration,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    pub subject: Option<SubjectOptions>,
    pub shapes: Vec<Shape>,
    pub pace: Pace,
    pub stall: Option<Duration>,
    pub json: Option<PathBuf>,
    pub on_short: OnShort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Full,
    /// Less of everything, to see that it works; its figures are rough.
    Quick,
}

/// What a missed requirement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShort {
    Print,
    Fail,
}

impl Lab {
    async fn open(options: &BenchOptions) -> Result<Lab> {
        let quick = options.pace == Pace::Quick;
        let seconds = |full: u64, short: u64| Duration::from_secs(if quick { short } else { full });
        Ok(Lab {
            subject: options.subject.clone(),
            upstream: Upstream::start().await?,
            quick,
            rounds: if quick { 1 } else { 3 },
            warm_up: seconds(2, 1),
            window: seconds(10, 3),
            stall: options.stall.unwrap_or(seconds(60, 10)),
        })
    }

    /// A fresh server, if there is one to measure.
    pub async fn subject(&self) -> Result<Option<Subject>> {
        let Some(options) = &self.subject else { return Ok(None) };
        let models = [self.run_model(), self.first_token_model()];
        Ok(Some(Subject::start(options, self.upstream.address(), &models).await?))
    }

    /// So many fresh nodes on a fresh Postgres and Redis, if there is a server to measure.
    pub async fn cluster(&self, nodes: usize) -> Result<Option<Cluster>> {
        let Some(options) = &self.subject else { return Ok(None) };
        let models = [self.run_model(), self.first_token_model()];
        Ok(Some(Cluster::start(options, self.upstream.address(), &models, nodes).await?))
    }

    /// Outlasts every measurement.
    pub fn run_model(&self) -> String {
        let seconds = (self.warm_up + self.window + RUN_SPARE).as_secs();
        format!("stamped-{TOKENS_PER_SECOND}-{}", u64::from(TOKENS_PER_SECOND) * seconds)
    }

    pub fn first_token_model(&self) -> String {
        format!("stamped-{TOKENS_PER_SECOND}-3")
    }

    /// Where references write, on the disk that the server would write to.
    pub fn scratch(&self) -> PathBuf {
        self.subject.as_ref().map_or_else(std::env::temp_dir, |subject| subject.scratch.clone())
    }
}

pub async fn run(options: &BenchOptions) -> Result<()> {
    process::allow_open_files(OPEN_FILES_LEAST)?;
    let lab = Lab::open(options).await?;
    let cores = process::cores();
    match cores {
        [measured, generator, ..] => eprintln!("measured on core {measured}, generated on core {generator}"),
        _ => eprintln!("one core for both sides: the figures are rough"),
    }
    let load_before = process::load_average();
    if load_before > LOAD_AVERAGE_QUIET {
        eprintln!("the machine is busy (load average {load_before}): do not trust these figures");
    }
    let mut figures: Vec<Figure> = Vec::new();
    let mut failures = Vec::new();
    for shape in &options.shapes {
        eprintln!("{shape:?} …");
        match tokio::time::timeout(SHAPE_PATIENCE, shape.measure(&lab)).await {
            Ok(Ok(measured)) => figures.extend(measured),
            Ok(Err(error)) => failures.push(format!("{shape:?}: {error:#}")),
            Err(_) => failures.push(format!("{shape:?}: not done within {SHAPE_PATIENCE:?}")),
        }
    }
    print!("{}", table(&figures));
    println!("load average before: {load_before}, rounds: {}, window: {:?}", lab.rounds, lab.window);
    for failure in &failures {
        println!("NOT MEASURED: {failure}");
    }
    if let Some(path) = &options.json {
        let report = json!({"quick": lab.quick, "cores": cores.len(), "load_average_before": load_before, "figures": figures, "not_measured": failures});
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    let short = figures.iter().filter(|figure| figure.is_short()).count();
    if options.on_short == OnShort::Fail && (short > 0 || !failures.is_empty()) {
        bail!("{short} required figures are missed, {} shapes were not measured", failures.len());
    }
    Ok(())
}
