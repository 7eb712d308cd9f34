//! `cargo xtask cluster`: what docker-compose.yml starts, as processes on loopback, for who has no Docker.
//!
//! Every start begins anew below `target/cluster`, with secrets of its own. A node's settings are the `.env` of its folder,
//! so that `caside` run there is that node again, after it was killed on purpose, or its command line. Absent: telemetry and
//! TURN, and whatever would need a privilege.

mod certificates;
mod children;
mod ports;
mod secret;
mod services;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, repository, run as run_step};
use crate::tools;
use children::{Children, Interrupts};
use ports::Ports;
use services::Services;

/// More would say nothing new on one machine.
const MAX_NODES: usize = 9;
/// A start migrates the database.
const NODE_START: Duration = Duration::from_secs(60);
/// Rooms have nowhere to go when every node stops, so a stop need not wait for long.
const DRAIN_SECONDS: u64 = 10;
/// The account to try things with.
const USER: &str = "demo";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    nodes: usize,
    sticky: bool,
    binary: Binary,
}

#[derive(Debug, PartialEq, Eq)]
enum Binary {
    Debug,
    Release,
    At(PathBuf),
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            nodes: 3,
            sticky: false,
            binary: Binary::Debug,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--nodes" => {
                    let given = value()?;
                    options.nodes = given
                        .parse()
                        .ok()
                        .filter(|n| (1..=MAX_NODES).contains(n))
                        .with_context(|| format!("--nodes {given}: 1 to {MAX_NODES}"))?;
                }
                "--sticky" => options.sticky = true,
                "--release" => options.binary = Binary::Release,
                "--bin" => options.binary = Binary::At(value()?.into()),
                other => bail!("{other}: allowed are --nodes N, --sticky, --release, --bin PATH"),
            }
        }
        Ok(options)
    }
}

/// One node's place and addresses.
struct Node {
    name: String,
    folder: PathBuf,
    http: u16,
    links: u16,
}

/// Starts everything, shows where it is, and stops it in order at ctrl-c.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    tools::for_cluster()?;
    let binary = binary(&options.binary)?;
    let folder = repository().join("target/cluster");
    fs::create_dir_all(repository().join("target"))?;
    let lock = File::create(folder.with_extension("lock"))?;
    ensure!(
        lock.try_lock().is_ok(),
        "a cluster runs in {} already",
        folder.display()
    );
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("logs"))?;

    let interrupts = Interrupts::listen()?;
    let mut children = Children::new(&folder.join("logs"));
    let outcome = start(&options, &binary, &folder, &mut children, &interrupts);
    if outcome.is_ok() {
        children.watch(&interrupts);
        eprintln!("stopping; ctrl-c once more stops at once");
    }
    children.stop(&interrupts, Duration::from_secs(DRAIN_SECONDS + 5));
    outcome
}

fn start(
    options: &Options,
    binary: &Path,
    folder: &Path,
    children: &mut Children,
    interrupts: &Interrupts,
) -> Result<()> {
    let mut ports = Ports::default();
    let balancer = ports.take_near(8080)?;
    let nodes = (1..=options.nodes)
        .map(|number| {
            let name = format!("n{number}");
            Ok(Node {
                folder: folder.join(&name),
                http: ports.take_near(8080 + u16::try_from(number)?)?,
                links: ports.take()?,
                name,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let services = Services::prepare(folder, &mut ports)?;
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    certificates::make(&folder.join("certificates"), &names)?;
    ports.release();

    services.start(children, interrupts)?;
    let shared = shared_settings(&services)?;
    for node in &nodes {
        settle(node, &shared, folder)?;
    }
    let password = secret::hex(8)?;
    add_user(binary, &nodes[0].folder, &password)?;
    for node in &nodes {
        let mut command = children::bound(binary, &[]);
        command.arg("serve").current_dir(&node.folder);
        children.start_shown(&node.name, command)?;
    }
    for node in &nodes {
        children.wait_until(&node.name, NODE_START, interrupts, || {
            services::answers(node.http, "GET /health/ready")
        })?;
    }
    let addresses: Vec<(&str, u16)> = nodes.iter().map(|node| (node.name.as_str(), node.http)).collect();
    let inside = services.start_balancer(children, interrupts, balancer, &addresses, options.sticky)?;
    let text = announcement(children, &nodes, (balancer, inside), &password, binary);
    eprintln!("{text}");
    Ok(())
}

/// The node's program, built if need be.
fn binary(wanted: &Binary) -> Result<PathBuf> {
    let profile = match wanted {
        Binary::At(path) => {
            return fs::canonicalize(path).with_context(|| format!("--bin {}: not there", path.display()));
        }
        Binary::Debug => "debug",
        Binary::Release => "release",
    };
    let mut build = vec!["build", "--package", "caside-node"];
    if *wanted == Binary::Release {
        build.push("--release");
    }
    run_step(&cargo(&build))?;
    Ok(repository().join("target").join(profile).join("caside"))
}

/// What is the same on every node, as names and values.
fn shared_settings(services: &Services) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("JWT_SECRET", secret::hex(32)?),
        ("CASIDE_CLUSTER_COOKIE", secret::hex(24)?),
        ("DATABASE_URL", services.database_url()),
        ("REDIS_URL", services.redis_url()),
        ("S3_BUCKET", services::BUCKET.to_owned()),
        ("S3_ENDPOINT", services.s3_endpoint()),
        // The test server asks nobody who they are.
        ("AWS_ACCESS_KEY_ID", "caside".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "caside".to_owned()),
        ("CASIDE_DRAIN_TIMEOUT", format!("{DRAIN_SECONDS}s")),
        // Any ports: there are more nodes on this machine.
        ("CASIDE_MEDIA_PORT", "0".to_owned()),
    ])
}

/// A node's own settings, beside the shared ones.
fn own_settings(node: &Node, certificates: &Path) -> Vec<(&'static str, String)> {
    let pem = |name: String| certificates.join(name).display().to_string();
    vec![
        ("CASIDE_NODE_ID", node.name.clone()),
        ("CASIDE_DATA_DIR", "data".to_owned()),
        ("CASIDE_LISTEN", format!("127.0.0.1:{}", node.http)),
        ("CASIDE_CLUSTER_LISTEN", format!("127.0.0.1:{}", node.links)),
        ("CASIDE_CLUSTER_ADVERTISE", format!("127.0.0.1:{}", node.links)),
        ("CASIDE_CLUSTER_CERT", pem(format!("{}.pem", node.name))),
        ("CASIDE_CLUSTER_KEY", pem(format!("{}.key", node.name))),
        ("CASIDE_CLUSTER_CA", pem("ca.pem".to_owned())),
    ]
}

/// Makes the node's folder with its `.env`.
fn settle(node: &Node, shared: &[(&str, String)], folder: &Path) -> Result<()> {
    fs::create_dir_all(&node.folder)?;
    let own = own_settings(node, &folder.join("certificates"));
    let text = own
        .iter()
        .chain(shared)
        .map(|(name, value)| format!("{name}='{value}'\n"));
    secret::write(&node.folder.join(".env"), &text.collect::<String>())
}

/// Makes the account, which also brings the database's schema up to date before three nodes want to.
fn add_user(binary: &Path, folder: &Path, password: &str) -> Result<()> {
    let mut command = Command::new(binary);
    command
        .args(["user", "add", USER, "--admin", "--password-stdin"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    children::only_our_environment(&mut command);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let mut input = child.stdin.take().context("the command has no input")?;
    writeln!(input, "{password}")?;
    drop(input);
    let status = child.wait()?;
    ensure!(status.success(), "caside user add {USER} failed: {status}");
    Ok(())
}

/// What somebody wants to know who has just started it.
fn announcement(
    children: &Children,
    nodes: &[Node],
    (balancer, inside): (u16, u16),
    password: &str,
    binary: &Path,
) -> String {
    let mut text = format!(
        "\n  balancer   http://127.0.0.1:{balancer}   (its view of the nodes: http://127.0.0.1:{inside}/stats)\n"
    );
    for node in nodes {
        let pid = children.pid(&node.name).unwrap_or_default();
        text += &format!("  {:10} http://127.0.0.1:{}   process {pid}\n", node.name, node.http);
    }
    text += &format!("  sign in    {USER}, password {password} (an admin)\n");
    let last = nodes.last().map_or(Path::new("."), |node| &node.folder);
    text += &format!(
        "\n  A node that was killed is started again by running it in its folder:\n  cd {} && {}\n\n  ctrl-c stops everything.\n",
        last.display(),
        binary.display()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_have_defaults_and_bounds() {
        let defaults = parse(&[]).unwrap();
        assert_eq!(
            (defaults.nodes, defaults.sticky, defaults.binary),
            (3, false, Binary::Debug)
        );
        let all = parse(&["--nodes", "5", "--sticky", "--bin", "there/caside"]).unwrap();
        assert_eq!(
            (all.nodes, all.sticky, all.binary),
            (5, true, Binary::At("there/caside".into()))
        );
        for wrong in [
            &["--nodes", "0"][..],
            &["--nodes", "10"],
            &["--nodes"],
            &["--bin"],
            &["--wrong"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
