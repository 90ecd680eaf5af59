//! Parses the configuration and does what it asks for.

use anyhow::Context as _;
use clap::Parser;
use promptroom::{
    app,
    config::{Cli, Command, TokenAction},
    copying, doctor,
    domain::document::MERGE_STACK_BYTES,
    telemetry,
};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(MERGE_STACK_BYTES)
        .build()
        .context("the runtime cannot start")
        .and_then(|runtime| runtime.block_on(Box::pin(act(cli))));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "what a person asked for at the terminal")]
async fn act(cli: Cli) -> anyhow::Result<()> {
    let Cli { options, command } = cli;
    match command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let metrics = telemetry::start(&options)?;
            app::run(options, metrics).await
        }
        Command::Token { action: TokenAction::Create { name, role } } => {
            let store = app::open_store(&options).await?;
            println!("{}", app::create_token(&store, name, role).await?);
            Ok(())
        }
        Command::Link => {
            let store = app::open_store(&options).await?;
            println!("{}", app::owner_link(&store, &options.public_url(options.listen)?).await?);
            Ok(())
        }
        Command::Migrate => {
            app::open_store(&options).await?;
            println!("The database is at this version's schema.");
            Ok(())
        }
        Command::Doctor => doctor::examine(&options).await,
        Command::Copy { from, to } => copying::copy_database(&from, &to).await,
    }
}

/// One clear line: what, and what lies behind it.
#[allow(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
fn complain(error: &anyhow::Error) {
    eprintln!("promptroom: {error:#}");
}
