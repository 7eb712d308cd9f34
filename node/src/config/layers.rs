//! Gathers the settings from their sources, nearest first, and says in one line what is wrong with one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::key::{self, KEYS, Key};
use super::{Settings, check, dotenv};

/// What the variables begin with that have no conventional name.
const PREFIX: &str = "CASIDE_";
/// What the names of OpenTelemetry's own begin with.
const OTEL: &str = "OTEL_";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The process's environment.
    Environment,
    /// A line of `.env`.
    DotEnv(PathBuf, usize),
    /// A line of `caside.toml`.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv(path, line) | Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongValue {
    /// The setting's name as that source has it.
    name: String,
    /// What was given, masked when secret.
    value: String,
    /// Who gave it.
    source: Source,
    /// What is wrong.
    reason: String,
    /// What may be.
    allowed: String,
}

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            source,
            reason,
            allowed,
        } = self;
        write!(f, "{name} = {value} ({source}): {reason}; allowed: {allowed}")
    }
}

/// What stops a start, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// A value that cannot be.
    #[error("{0}")]
    Value(Box<WrongValue>),
    /// A name that no setting has.
    #[error("{name} ({from}): no such setting{hint}")]
    Unknown {
        /// As given.
        name: String,
        /// Who gave it.
        from: Source,
        /// Starts with `; `, when there is one.
        hint: String,
    },
    /// A file that is not what it should be.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// One given value.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    value: Value,
    source: Source,
}

/// Everything that was said, by setting; the nearest source first in.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    given: BTreeMap<&'static str, Given>,
    ignored: Vec<String>,
    otel: BTreeMap<String, String>,
}

/// The settings and where each came from.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// Where to read them again.
    pub(crate) from: Sources,
    /// The values.
    pub(crate) settings: Settings,
    /// Variables of the environment that look like settings and are none.
    pub(crate) ignored: Vec<String>,
    /// OpenTelemetry's own variables, of the environment and `.env`.
    pub(crate) otel: BTreeMap<String, String>,
    sources: BTreeMap<&'static str, Source>,
}

impl Configuration {
    /// Where the setting of this name came from.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.sources.get(name).cloned().unwrap_or(Source::Default)
    }

    /// The error line of a value that was read well but cannot be used.
    pub(crate) fn refuse(&self, name: &'static str, reason: impl Into<String>, allowed: Option<&str>) -> ConfigError {
        let key = key::by_name(name).expect("the names of settings are those of the table");
        let source = self.source(name);
        let value = super::show::value(&self.settings, key).unwrap_or_else(|| "(unset)".to_owned());
        ConfigError::Value(Box::new(WrongValue {
            name: named(key, &source),
            value: if key.secret { "(hidden)".to_owned() } else { value },
            source,
            reason: reason.into(),
            allowed: allowed.unwrap_or(key.allowed).to_owned(),
        }))
    }
}

/// The name of a setting in this source.
fn named(key: &Key, source: &Source) -> String {
    match (source, key.flag()) {
        (Source::Flag, Some(flag)) => format!("--{flag}"),
        (Source::File(..), _) => key.name.to_owned(),
        _ => key.variable.to_owned(),
    }
}

impl Layers {
    /// Adds what was said of `key`, unless a nearer source said something.
    fn offer(&mut self, key: &'static Key, value: Value, source: Source) {
        self.given.entry(key.name).or_insert(Given { value, source });
    }

    /// Takes the flags.
    pub(crate) fn flags(&mut self, flags: &[(&'static str, String)]) {
        for (name, value) in flags {
            if let Some(key) = key::by_name(name) {
                self.offer(key, Value::String(value.clone()), Source::Flag);
            }
        }
    }

    /// Takes the environment. A `CASIDE_…` that no setting has is refused when it is near to one, as a slip of the
    /// keyboard; any other is only noted, for Kubernetes makes such names (`CASIDE_SERVICE_HOST`) for a service of our
    /// name.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`].
    pub(crate) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, value) in variables {
            if let Some(key) = key::by_variable(&name) {
                self.offer(key, Value::String(value), Source::Environment);
            } else if name.starts_with(OTEL) {
                self.otel.insert(name, value);
            } else if let Some(rest) = name.strip_prefix(PREFIX) {
                if let Some(meant) = key::slip(rest) {
                    return Err(unknown(&name, Source::Environment, Some(meant)));
                }
                self.ignored.push(name);
            }
        }
        Ok(())
    }

    /// Takes the text of a `.env`.
    ///
    /// # Errors
    /// A line that assigns nothing, or a `CASIDE_…` that no setting has.
    pub(crate) fn dotenv(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let assignments = dotenv::parse(text).map_err(|e| ConfigError::File {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        // The last assignment of a name counts, as a shell would have it.
        for assignment in assignments.into_iter().rev() {
            let source = Source::DotEnv(path.to_owned(), assignment.line);
            if let Some(key) = key::by_variable(&assignment.name) {
                self.offer(key, Value::String(assignment.value), source);
            } else if assignment.name.starts_with(OTEL) {
                self.otel.entry(assignment.name).or_insert(assignment.value);
            } else if assignment.name.starts_with(PREFIX) {
                let hint = key::nearest(&assignment.name, KEYS.iter().map(|key| key.variable));
                return Err(unknown(&assignment.name, source, hint));
            }
        }
        Ok(())
    }

    /// Takes the text of a `caside.toml`.
    ///
    /// # Errors
    /// Text that is no TOML, or a name that no setting has.
    pub(crate) fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line_at = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        let broken = |e: toml::de::Error| {
            let line = e.span().map_or(1, |span| line_at(span.start));
            ConfigError::File {
                path: path.to_owned(),
                reason: format!("line {line}: {}", one_line(e.message())),
            }
        };
        let spans = toml::de::DeTable::parse(text).map_err(broken)?;
        let table: Table = text.parse().map_err(broken)?;
        for (name, value) in table {
            let line = spans
                .get_ref()
                .iter()
                .find(|(key, _)| *key.get_ref() == name)
                .map_or(1, |(key, _)| line_at(key.span().start));
            let source = Source::File(path.to_owned(), line);
            match key::by_name(&name) {
                Some(key) => self.offer(key, value, source),
                None => {
                    let hint = key::nearest(&name, KEYS.iter().map(|key| key.name));
                    return Err(unknown(&name, source, hint));
                }
            }
        }
        Ok(())
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// The first value that cannot be.
    pub(crate) fn finish(self) -> Result<Configuration, ConfigError> {
        let mut table = Table::new();
        let mut sources = BTreeMap::new();
        for (name, given) in self.given {
            let key = key::by_name(name).expect("only settings of the table are offered");
            // Read alone, so that an error is surely this setting's.
            let alone = Table::from_iter([(name.to_owned(), given.value.clone())]);
            if let Err(e) = Settings::deserialize(alone) {
                return Err(ConfigError::Value(Box::new(WrongValue {
                    name: named(key, &given.source),
                    value: shown(key, &given.value),
                    source: given.source,
                    reason: one_line(e.message()),
                    allowed: key.allowed.to_owned(),
                })));
            }
            table.insert(name.to_owned(), given.value);
            sources.insert(name, given.source);
        }
        let settings = Settings::deserialize(table).expect("every value was read alone");
        let configuration = Configuration {
            from: Sources::default(),
            settings,
            ignored: self.ignored,
            otel: self.otel,
            sources,
        };
        check::check(&configuration)?;
        Ok(configuration)
    }
}

/// A value in an error line. What may bear a credential is not shown, for it was not understood.
fn shown(key: &Key, value: &Value) -> String {
    if key.secret || matches!(key.name, "database_url" | "ice_servers") {
        return "(hidden)".to_owned();
    }
    let text: String = one_line(&value.to_string()).chars().take(80).collect();
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(name: &str, from: Source, hint: Option<&str>) -> ConfigError {
    ConfigError::Unknown {
        name: name.to_owned(),
        from,
        hint: hint.map_or_else(
            || "; `caside config print` lists them all".to_owned(),
            |near| format!("; did you mean {near}?"),
        ),
    }
}

/// Where files and variables are read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// `--config`: must be there. Otherwise `caside.toml` in the working directory is read if it is.
    pub(crate) file: Option<PathBuf>,
    /// From the command line, by setting.
    pub(crate) flags: Vec<(&'static str, String)>,
}

/// Reads the configuration from all sources.
///
/// # Errors
/// [`ConfigError`] is one line that names setting, value, source and what is allowed.
pub(crate) fn load(sources: &Sources) -> Result<Configuration, ConfigError> {
    let mut layers = Layers::default();
    layers.flags(&sources.flags);
    let variables = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    layers.environment(variables)?;
    let dotenv = Path::new(".env");
    if let Some(text) = read(dotenv, false)? {
        layers.dotenv(dotenv, &text)?;
    }
    let (path, required) = match &sources.file {
        Some(path) => (path.as_path(), true),
        None => (Path::new("caside.toml"), false),
    };
    if let Some(text) = read(path, required)? {
        layers.file(path, &text)?;
    }
    let mut configuration = layers.finish()?;
    configuration.from = sources.clone();
    Ok(configuration)
}

/// A file's text; `None` when it is not there and need not be.
fn read(path: &Path, required: bool) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => Ok(None),
        Err(e) => Err(ConfigError::File {
            path: path.to_owned(),
            reason: format!("cannot be read: {e}"),
        }),
    }
}

#[cfg(test)]
mod tests;
