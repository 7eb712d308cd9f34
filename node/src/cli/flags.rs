//! A flag for every setting that is no secret, made from the table of settings.

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::key::KEYS;

/// What was given, by setting.
#[derive(Debug, Default)]
pub(crate) struct SettingFlags(pub(crate) Vec<(&'static str, String)>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let flags = KEYS.iter().filter_map(|key| {
            let flag = key.flag()?;
            let help = format!("{} [env: {}] [allowed: {}]", key.purpose, key.variable, key.allowed);
            let arg = Arg::new(key.name).long(flag).value_name("VALUE").help(help);
            Some(arg.help_heading("Settings").global(true))
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let given = KEYS.iter().filter(|key| !key.secret);
        let given = given.filter_map(|key| Some((key.name, matches.get_one::<String>(key.name)?.clone())));
        self.0.extend(given);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::cli::Cli;

    #[test]
    fn the_command_line_is_well_formed_and_secrets_have_no_flag() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["caside", "serve", "--media-port", "5", "--listen", "127.0.0.1:1"]).unwrap();
        let mut given = cli.flags.0;
        given.sort_unstable();
        assert_eq!(
            given,
            [("listen", "127.0.0.1:1".to_owned()), ("media_port", "5".to_owned())]
        );
        assert!(Cli::try_parse_from(["caside", "--jwt-secret", "x"]).is_err());
    }
}
