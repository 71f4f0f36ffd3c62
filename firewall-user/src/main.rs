//! The `fwx` command.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use firewall_user::error::exit_code;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
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
