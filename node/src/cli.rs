//! The command line.

mod accounts;
mod ask;
mod explain;
mod flags;
mod inspect;
mod operate;
mod schema;
mod token;
mod trusted;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::layers::{ConfigError, Configuration, Sources, load};
use crate::config::show;
use crate::telemetry::{self, Telemetry};
use crate::{output, serve};
use flags::SettingFlags;

/// A wrong configuration.
const EXIT_CONFIG: u8 = 2;

/// Calls and their recordings for your app, in one binary.
#[derive(Debug, Parser)]
#[command(name = "caside", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Read this file in place of ./caside.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (what `caside` alone does)
    Serve,
    /// Print a signed token
    Token(token::TokenArgs),
    /// Manage accounts
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Manage API keys
    #[command(subcommand, name = "apikey")]
    ApiKey(accounts::ApiKeyCommand),
    /// Look at the cluster that runs
    Inspect(operate::InspectArgs),
    /// Say whether the node of this configuration is ready for clients, also by the exit code
    Health,
    /// Move every room off a node, which then ends
    Drain(operate::DrainArgs),
    /// Manage the database's schema
    #[command(subcommand)]
    Migrate(schema::MigrateCommand),
    /// Check or print the effective configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check it, and say nothing but whether it is good
    Check,
    /// Print it with the source of each value, secrets masked
    Print,
}

impl Cli {
    /// Runs the command; the process's exit code.
    pub(crate) fn run(self) -> ExitCode {
        let sources = Sources {
            file: self.config,
            flags: self.flags.0,
        };
        let configuration = match load(&sources) {
            Ok(configuration) => configuration,
            Err(e) => {
                output::complaint(e);
                return ExitCode::from(EXIT_CONFIG);
            }
        };
        let command = self.command.unwrap_or(Command::Serve);
        let telemetry = telemetry::start(&configuration, matches!(command, Command::Serve));
        for name in &configuration.ignored {
            tracing::warn!(name, "no setting has this name; it is ignored");
        }
        match command.run(configuration, telemetry) {
            Ok(code) => code,
            Err(e) => {
                output::complaint(format_args!("{e:#}"));
                // A file that a setting names is read late, and is a matter of configuration all the same.
                match e.downcast_ref::<ConfigError>() {
                    Some(_) => ExitCode::from(EXIT_CONFIG),
                    None => ExitCode::FAILURE,
                }
            }
        }
    }
}

impl Command {
    fn run(self, configuration: Configuration, telemetry: Telemetry) -> anyhow::Result<ExitCode> {
        if let Self::Config(command) = self {
            match command {
                ConfigCommand::Check => {
                    serve::tls(&configuration)?;
                    output::line("the configuration is good");
                }
                ConfigCommand::Print => output::line(show::print(&configuration).trim_end()),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(async {
            let settings = &configuration.settings;
            match self {
                Self::Serve => return Box::pin(serve::run(configuration, telemetry)).await,
                Self::Token(args) => args.run(settings)?,
                Self::User(command) => command.run(settings).await?,
                Self::ApiKey(command) => command.run(settings).await?,
                Self::Inspect(args) => args.run(settings).await?,
                Self::Health => operate::health(settings).await?,
                Self::Drain(args) => args.run(settings).await?,
                Self::Migrate(command) => command.run(settings).await?,
                Self::Config(_) => {}
            }
            Ok(ExitCode::SUCCESS)
        });
        // A hash or a query that still runs is not waited for.
        runtime.shutdown_background();
        done
    }
}
