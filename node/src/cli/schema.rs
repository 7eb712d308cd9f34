//! `caside migrate`.

use anyhow::Context;
use caside_store::{Store, StoreOptions};
use clap::Subcommand;

use crate::config::Settings;
use crate::{output, private};

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Apply every pending step
    Up,
    /// Take back the newest steps, with their data
    Down {
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// List the steps and whether each is applied
    Status,
}

impl MigrateCommand {
    /// Does it.
    pub(super) async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        private::data_dir(settings.data_dir())?;
        let store = Store::connect(&settings.database_url(), StoreOptions::default()).await;
        let store = store.context("cannot open the database")?;
        match self {
            Self::Up => changed("applied", &caside_migrations::up(store.connection()).await?),
            Self::Down { steps } => changed("taken back", &caside_migrations::down(store.connection(), steps).await?),
            Self::Status => {
                for step in caside_migrations::status(store.connection()).await? {
                    let state = match (step.applied, step.known) {
                        (true, true) => "applied",
                        (true, false) => "applied by a newer version",
                        (false, _) => "pending",
                    };
                    output::line(format_args!("{state:8}  {}", step.name));
                }
            }
        }
        Ok(store.close().await?)
    }
}

fn changed(what: &str, steps: &[String]) {
    for step in steps {
        output::line(format_args!("{what}: {step}"));
    }
    if steps.is_empty() {
        output::line("nothing to do");
    }
}
