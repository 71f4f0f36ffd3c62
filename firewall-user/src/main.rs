//! The `fwx` command.

mod cli;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use firewall_user::error::exit_code;
use tokio::runtime::Builder;

/// How long threads that wait for a name server or a disk may still take when all else has ended.
const FAREWELL: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match runtime(&cli).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli));
            runtime.shutdown_timeout(FAREWELL);
            code
        }
        Err(error) => {
            eprintln!("fwx: cannot wait for events of the kernel's: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(cli: &cli::Cli) -> Builder {
    if !cli.is_controller() {
        return Builder::new_current_thread();
    }
    // What reads the kernel's rings stays on this thread; whoever is served gets another.
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1);
    runtime
}

async fn run(cli: cli::Cli) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FWX_LOG")
        .unwrap_or_else(|_| cli.log_filter().into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match cli::run(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", cli::explain(&error));
            exit_code(&error)
        }
    }
}
