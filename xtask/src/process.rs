//! Running other programs, with what is run said first.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program with its arguments, folder and environment.
pub(crate) struct Step {
    program: String,
    arguments: Vec<String>,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Step {
    /// A program, found on `PATH` unless it is a path.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            folder: repository(),
            environment: Vec::new(),
        }
    }

    /// More arguments.
    pub(crate) fn extend(&mut self, arguments: &[String]) {
        self.arguments.extend_from_slice(arguments);
    }

    /// Started by another program, which takes it as its last arguments.
    pub(crate) fn by(mut self, program: &str, arguments: &[&str]) -> Self {
        let before = arguments.iter().map(|a| (*a).to_owned());
        self.arguments.splice(
            0..0,
            before.chain([std::mem::replace(&mut self.program, program.to_owned())]),
        );
        self
    }

    /// In another folder than the repository's root.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.folder = folder.to_owned();
        self
    }

    /// With an environment variable.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With a folder in front of `PATH`.
    pub(crate) fn with_path(self, folder: &Path) -> Self {
        let mut path = OsString::from(folder);
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        self.with("PATH", path)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }
}

/// The cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Step {
    Step::new(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

/// Runs a step to its end; its output goes where ours goes.
pub(crate) fn run(step: &Step) -> Result<()> {
    eprintln!("$ {} {}", step.program, step.arguments.join(" "));
    let status = step
        .command()
        .status()
        .with_context(|| format!("cannot run {}", step.program))?;
    if !status.success() {
        bail!(
            "{} {} failed: {status}",
            step.program,
            step.arguments.first().map_or("", |a| a)
        );
    }
    Ok(())
}

/// Whether a program can be run with these arguments.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("xtask lies in a folder of the repository")
        .to_owned()
}
