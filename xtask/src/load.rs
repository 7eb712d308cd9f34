//! `cargo xtask load`: k6 against a node of the release binary, with what that node took of the machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{Step, repository, run};
use crate::tools;

/// One of the scripts in `loadtest/k6`, and how it is asked to run.
struct Script {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
}

const SMALL: &[Script] = &[
    Script {
        name: "signaling",
        settings: &[("CONNECTIONS", "1000"), ("RATE", "200"), ("HOLD", "30")],
    },
    Script {
        name: "rest",
        settings: &[("RATE", "50"), ("HOLD", "20")],
    },
    Script {
        name: "chaos",
        settings: &[("CONNECTIONS", "200"), ("RATE", "100"), ("HOLD", "30")],
    },
];

const FULL: &[Script] = &[
    Script {
        name: "signaling",
        settings: &[("CONNECTIONS", "10000"), ("RATE", "500"), ("HOLD", "600")],
    },
    Script {
        name: "rest",
        settings: &[("RATE", "100"), ("HOLD", "120")],
    },
    Script {
        name: "chaos",
        settings: &[("CONNECTIONS", "1000"), ("RATE", "200"), ("HOLD", "120")],
    },
];

/// A kernel's tick, of which processor time is counted.
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs all of it, `small` in some minutes or `full`.
pub(crate) fn run_all(arguments: &[String]) -> Result<()> {
    let scripts = match arguments.first().map(String::as_str) {
        None | Some("small") => SMALL,
        Some("full") => FULL,
        Some(other) => bail!("`small` or `full`, and not {other}"),
    };
    tools::for_load()?;
    let secret = "a secret of the load test, and of nothing else";
    let mut failed = Vec::new();
    for script in scripts {
        let node = Node::start(secret)?;
        let mut k6 = Step::new(
            &tools::python_bin().join("k6").to_string_lossy(),
            &["run", "--quiet", "--no-usage-report"],
        );
        let settings = [("URLS", node.url.as_str()), ("JWT_SECRET", secret)];
        for (name, value) in settings.iter().chain(script.settings) {
            k6.extend(&["-e".to_owned(), format!("{name}={value}")]);
        }
        k6.extend(&[format!("loadtest/k6/{}.js", script.name)]);
        let before = node.taken()?;
        // A threshold that is crossed is said, and the rest runs all the same.
        // Ten thousand sockets are much to look through for garbage: less often, for the price of memory.
        if let Err(error) = run(&k6.with("GOGC", "400")) {
            failed.push(format!("{}: {error:#}", script.name));
        }
        let after = node.taken()?;
        eprintln!(
            "{}: the node took {:.1} s of processor time; resident at most {} MiB, before {} MiB",
            script.name,
            after.seconds - before.seconds,
            after.peak_kib / 1024,
            before.resident_kib / 1024
        );
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("; "))
}

fn program() -> std::path::PathBuf {
    repository().join("target/release/caside")
}

/// A node in a folder of its own, which ends with this.
struct Node {
    process: Child,
    url: String,
    folder: std::path::PathBuf,
}

/// What a process has taken so far.
struct Taken {
    seconds: f64,
    resident_kib: u64,
    peak_kib: u64,
}

impl Node {
    fn start(secret: &str) -> Result<Self> {
        let folder = repository().join("target/load");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut process = Command::new(program())
            .arg("serve")
            .current_dir(&folder)
            .env("CASIDE_DATA_DIR", &folder)
            .env("CASIDE_LISTEN", "127.0.0.1:0")
            .env("CASIDE_MAX_CONNECTIONS", "60000")
            .env("JWT_SECRET", secret)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("the node cannot be started")?;
        let said = process.stdout.take().context("the node says nothing")?;
        let mut lines = BufReader::new(said).lines();
        let url = loop {
            let line = lines.next().context("the node ended")??;
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        Ok(Self { process, url, folder })
    }

    /// proc(5): `utime` and `stime` of the process, and its memory.
    fn taken(&self) -> Result<Taken> {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.process.id()));
        let stat = of("stat")?;
        // The name in parentheses may have spaces in it.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        let status = of("status")?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or_default()
        };
        Ok(Taken {
            seconds: ticks / TICKS_PER_SECOND,
            resident_kib: kib("VmRSS:"),
            peak_kib: kib("VmHWM:"),
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("the node was not ended: {error}");
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left: {error}", self.folder.display());
        }
    }
}
