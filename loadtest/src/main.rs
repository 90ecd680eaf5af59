//! `loadtest`: the bench, and the processes that it starts beside the product.

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use promptroom_loadtest::{
    bench::{self, BenchOptions, OnShort, Pace},
    process::{self, Side},
    raw_relay::RawRelay,
    relay::Relay,
    shapes::Shape,
    subject::SubjectOptions,
    target::Members,
    upstream::Upstream,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Measures Promptroom beside a bare relay, and prints one table.
#[derive(Debug, Parser)]
#[command(name = "loadtest")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the server itself, puts load on it and on the references, prints the table.
    Bench(BenchArguments),
    /// The bare relay: prints its address and runs until it is ended.
    Relay {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Plain TCP fan-out instead of WebSockets.
        #[arg(long)]
        raw: bool,
    },
    /// A model's double on the OpenAI wire: prints its base URL and runs until it is ended.
    Upstream {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct BenchArguments {
    /// All of them if none is named.
    shapes: Vec<Shape>,
    /// `promptroom` beside this program if absent.
    #[arg(long)]
    server_binary: Option<PathBuf>,
    /// Measure the relay, the raw writes and the disk only.
    #[arg(long, conflicts_with = "server_binary")]
    references_only: bool,
    /// Where data directories are made; its disk is the one that is measured.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// A variable for the server; may be given several times.
    #[arg(long = "server-variable", value_name = "NAME=VALUE")]
    server_variables: Vec<String>,
    /// Which protocol the members of typing rooms speak.
    #[arg(long, value_enum, default_value = "page")]
    members: Members,
    /// Less of everything: rough figures in a few minutes.
    #[arg(long)]
    quick: bool,
    /// How long the slow reader does not read.
    #[arg(long, value_name = "SECONDS")]
    stall: Option<u64>,
    /// Write the figures here too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a required figure is missed.
    #[arg(long)]
    strict: bool,
}

fn main() -> Result<()> {
    let command = Arguments::parse().command;
    if matches!(command, Command::Bench(_)) {
        process::pin(Side::Generator)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Bench(arguments) => Box::pin(bench::run(&arguments.options()?)).await,
        Command::Relay { listen, raw: true } => {
            let relay = RawRelay::start(listen).await?;
            println!("{}", relay.address());
            until_ended().await
        }
        Command::Relay { listen, raw: false } => {
            let relay = Relay::start(listen).await?;
            println!("{}", relay.address());
            until_ended().await
        }
        Command::Upstream { listen } => {
            let upstream = Upstream::start_on(listen).await?;
            println!("{}", upstream.base_url());
            until_ended().await
        }
    }
}

async fn until_ended() -> Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    }
}

impl BenchArguments {
    fn options(self) -> Result<BenchOptions> {
        let scratch = self.scratch.unwrap_or_else(std::env::temp_dir);
        let mut variables = Vec::new();
        for pair in &self.server_variables {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            ensure!(!name.is_empty() && pair.contains('='), "`{pair}` is not NAME=VALUE");
            variables.push((name.to_owned(), value.to_owned()));
        }
        let members = self.members;
        let binary = if self.references_only { None } else { Some(server_binary(self.server_binary)?) };
        let subject = binary.map(|binary| SubjectOptions { binary, scratch, variables, members });
        Ok(BenchOptions {
            subject,
            shapes: if self.shapes.is_empty() { Shape::ALL.to_vec() } else { self.shapes },
            pace: if self.quick { Pace::Quick } else { Pace::Full },
            stall: self.stall.map(Duration::from_secs),
            json: self.json,
            on_short: if self.strict { OnShort::Fail } else { OnShort::Print },
        })
    }
}

fn server_binary(named: Option<PathBuf>) -> Result<PathBuf> {
    let binary = match named {
        Some(binary) => binary,
        None => std::env::current_exe()?.with_file_name("promptroom"),
    };
    ensure!(
        binary.is_file(),
        "there is no server at {}: build it, name it with --server-binary, or add --references-only",
        binary.display()
    );
    Ok(binary)
}
