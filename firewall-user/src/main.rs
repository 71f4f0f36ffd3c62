//! The `fwx` command.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use firewall_user::error::exit_code;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("FWX_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", cli::explain(&error));
            exit_code(&error)
        }
    }
}
