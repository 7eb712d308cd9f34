//! The effective configuration as text: TOML that could be read again but for its secrets, each value with its source.

use std::fmt::Write;

use toml::Table;

use super::Settings;
use super::key::{KEYS, Key};
use super::layers::Configuration;

/// One setting's value as TOML; `None` when it is left out.
pub(crate) fn value(settings: &Settings, key: &Key) -> Option<String> {
    let table = Table::try_from(settings).expect("every setting has a form in TOML");
    table.get(key.name).map(ToString::to_string)
}

/// All settings, one a line.
pub(crate) fn print(configuration: &Configuration) -> String {
    let mut text = String::new();
    for key in KEYS {
        let line = match value(&configuration.settings, key) {
            Some(value) => format!("{} = {value}", key.name),
            None => format!("# {} is unset", key.name),
        };
        writeln!(text, "{line:<60} # {}", configuration.source(key.name)).expect("a string takes any text");
    }
    text
}
