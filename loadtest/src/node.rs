//! The node under load: a process of its own in a new folder.

use std::env;
use std::fs;
use std::path::{self, Path};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::http;

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a program may run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pinning {
    /// Wherever the kernel puts it.
    Anywhere,
    /// On one processor core alone.
    Core(u32),
}

impl Pinning {
    /// A command that runs this program so.
    pub(crate) fn command(self, program: &Path) -> Command {
        match self {
            Self::Anywhere => Command::new(program),
            Self::Core(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
        }
    }
}

/// A running `caside`.
pub(crate) struct Node {
    child: Child,
    /// Host and port of its HTTP listener.
    pub(crate) address: String,
    password: String,
    /// An admin's token, good for an hour.
    pub(crate) token: String,
    _folder: TempDir,
}

impl Node {
    /// Starts the program that `CASIDE_BIN` names, else the one beside this program.
    pub(crate) async fn start(extra: &[(&str, String)], pinning: Pinning) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = match env::var_os("CASIDE_BIN") {
            Some(path) => path::absolute(path)?,
            None => env::current_exe()?.with_file_name("caside"),
        };
        let mut child = pinning
            .command(&program)
            .current_dir(folder.path())
            .env("CASIDE_LISTEN", "127.0.0.1:0")
            .env("CASIDE_MEDIA_PORT", "0")
            .env("CASIDE_DATA_DIR", folder.path().join("data"))
            .env("RUST_LOG", "warn")
            // Ours, and no setting of the node.
            .env_remove("CASIDE_BIN")
            .envs(extra.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let (mut address, mut password) = (None, None);
        while address.is_none() || password.is_none() {
            let Some(line) = timeout(PATIENCE, lines.next_line())
                .await
                .context("the node does not start")??
            else {
                bail!("the node ended at its start");
            };
            if let Some((_, url)) = line.split_once("listening on http://") {
                address = Some(url.trim().to_owned());
            }
            if let Some((_, word)) = line.split_once("demo password: ") {
                password = Some(word.trim().to_owned());
            }
        }
        // What it says from here on is read so that it never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = address.context("no address")?;
        let mut node = Self {
            child,
            address,
            password: password.context("no password")?,
            token: String::new(),
            _folder: folder,
        };
        node.sign_in().await?;
        Ok(node)
    }

    /// Gets a new token.
    pub(crate) async fn sign_in(&mut self) -> Result<()> {
        let body = json!({"username": "demo", "password": self.password});
        let answer = http::request(&self.address, "POST", "/login", None, Some(&body)).await?;
        self.token = answer["token"].as_str().context("no token")?.to_owned();
        Ok(())
    }

    /// Its resident memory in KiB (`VmRSS` of proc(5)).
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The processor time it has used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.pid()?.to_string())
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the node has ended")
    }
}

/// The processor time that this program has used, in seconds.
pub(crate) fn own_cpu_seconds() -> Result<f64> {
    cpu_seconds("self")
}

/// `utime` and `stime` of proc(5), at 100 ticks a second.
fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}
