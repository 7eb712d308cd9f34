//! Chores, `cargo xtask …`. Kept free of heavy dependencies: it is built before anything else.

mod cluster;
mod deny;
#[cfg(test)]
mod deployed;
mod layers;
mod load;
mod process;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

use process::{Step, cargo, repository, run};

const USAGE: &str = "\
cargo xtask <chore>

  test       every test: Rust, then browsers and other clients against the release binary, then drills; installs what they need
  unit       the Rust tests alone
  e2e        the browser and client tests alone
  lint       formatting, layers, dependencies, clippy; warnings are errors
  deny       licenses, sources and advisories of what is built in; part of lint. ADVISORY_DB names a copy of the advisories
  fmt        formats Rust
  layers     checks which crate imports which
  fuzz [S]   every fuzz target for S seconds each (default 300; needs a nightly toolchain and cargo-fuzz)
  drills     three nodes with Redis, PostgreSQL and HAProxy, of which one is killed, stands still, drains, is cut off, and Redis goes
             away; RUNS, ROOMS, FROZEN_S, AWAY_S and DOWN_S say how often, how many and how long,
             CAMERA what pages send (320x240)
  interop    Chromium, Firefox, aiortc and GStreamer, each with each and codec by codec; installs them
  netem      Chromium and bots over links with loss, delay and steps of the rate, in network namespaces; ten minutes
  bench      the benchmarks, with their ratios
  throughput packets forwarded for each second of processor time, beside the least that can cost
  hostile    attacks of all kinds beside a call: what the call notices, what the node keeps
  soak [M]   a room with video for M minutes (default 60) whose members come and go: whether memory stays what it is
  cluster    three nodes on this machine with Redis, PostgreSQL, an S3-compatible server and HAProxy, until ctrl-c.
             --nodes N; --sticky keeps rooms together, as deploy/haproxy.cfg does; --release, or --bin PATH of a node
  load [small|full]  k6 against a node: signaling, REST, clients that are not well; full: 10,000 sockets for 10 minutes
  sockets    2,000 WebSockets in rooms of two: how fast they join, what they cost, what is left of them
  ci         lint, then test";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(arguments: &[String]) -> Result<()> {
    match arguments.first().map(String::as_str) {
        Some("test") => {
            unit()?;
            e2e()?;
            drills()
        }
        Some("unit") => unit(),
        Some("e2e") => e2e(),
        Some("lint") => lint(),
        Some("deny") => deny::check(),
        Some("fmt") => run(&cargo(&["fmt", "--all"])),
        Some("layers") => layers::check(&repository()),
        Some("fuzz") => fuzz(arguments.get(1).map_or("300", String::as_str)),
        Some("drills") => drills(),
        Some("interop") => interop(),
        Some("netem") => netem(),
        Some("bench") => run(&cargo(&["bench", "-p", "caside-media"])),
        Some("throughput") => throughput(arguments.get(1..).unwrap_or_default()),
        Some("cluster") => cluster::run(arguments.get(1..).unwrap_or_default()),
        Some("load") => {
            build_release()?;
            load::run_all(arguments.get(1..).unwrap_or_default())
        }
        Some("sockets") => bots("signaling", arguments.get(1..).unwrap_or_default()),
        Some("hostile") => bots("hostile", arguments.get(1..).unwrap_or_default()),
        Some("soak") => soak(arguments.get(1..).unwrap_or_default()),
        Some("ci") => {
            lint()?;
            unit()?;
            e2e()?;
            drills()
        }
        _ => bail!("{USAGE}"),
    }
}

fn lint() -> Result<()> {
    run(&cargo(&["fmt", "--all", "--check"]))?;
    layers::check(&repository())?;
    deny::check()?;
    run(&cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn unit() -> Result<()> {
    tools::for_rust_tests()?;
    let tests = if tools::has_nextest() {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    run(&tests.with_path(&tools::python_bin()))?;
    // nextest leaves the examples in documentation out.
    run(&cargo(&["test", "--workspace", "--doc"]))
}

fn e2e() -> Result<()> {
    tools::for_e2e_tests()?;
    build_release()?;
    run(&node_tests("unit")?)?;
    run(&node_tests("e2e")?
        .with("CASIDE_BIN", repository().join("target/release/caside"))
        .with_path(&tools::python_bin()))
}

/// Several nodes, and what they survive.
fn drills() -> Result<()> {
    tools::for_e2e_tests()?;
    tools::for_cluster()?;
    build_release()?;
    let tests = |folder| -> Result<Step> {
        Ok(node_tests(folder)?
            .with("CASIDE_BIN", repository().join("target/release/caside"))
            .with("CAMERA", camera())
            .with_path(&tools::python_bin()))
    };
    run(&tests("cluster")?)?;
    // What cuts nodes off needs a kernel that makes networks, which not every container's does.
    if tools::makes_networks() {
        return run(&in_namespace(tests("partition")?));
    }
    eprintln!(
        "drills: SKIPPED: nodes that are cut off; this machine makes no network namespaces with bridges and veth pairs"
    );
    Ok(())
}

/// What the cameras of pages give in drills. All nodes, what they lean on and the browsers share one machine: encoding 1280×720 in
/// three sizes would be most of what is measured.
fn camera() -> String {
    std::env::var("CAMERA").unwrap_or_else(|_| "320x240".to_owned())
}

/// Stacks of others against each other. Not among the tests of each change: it takes minutes, and much to install.
fn interop() -> Result<()> {
    tools::for_e2e_tests()?;
    tools::for_interop()?;
    build_release()?;
    run(&node_tests("interop")?
        .with("CASIDE_BIN", repository().join("target/release/caside"))
        .with_path(&tools::python_bin()))
}

/// Clients behind links that lose, delay and narrow. All of it takes longer than the tests of each change may.
fn netem() -> Result<()> {
    tools::for_e2e_tests()?;
    build_release()?;
    run(&in_namespace(node_tests("netem")?))
}

/// Tests in a network namespace of their own.
fn in_namespace(tests: Step) -> Step {
    // Root of a user namespace is enough for those who are not root.
    let user: &[&str] = if tools::is_root() {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    let namespaces = [user, &["--net"]].concat();
    tests
        .by("unshare", &namespaces)
        .with("CASIDE_BIN", repository().join("target/release/caside"))
        .with_path(&tools::python_bin())
}

fn build_release() -> Result<()> {
    run(&cargo(&[
        "build",
        "--release",
        "--package",
        "caside-node",
        "--package",
        "caside-loadtest",
    ]))
}

/// The tests of a folder below `web/tests`, one file after the other: they measure, and the machine is small.
fn node_tests(folder: &str) -> Result<Step> {
    let within = repository().join("web/tests").join(folder);
    let mut files: Vec<String> = std::fs::read_dir(&within)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(".test."))
        .collect();
    files.sort();
    let mut step = Step::new("node", &["--test", "--test-concurrency=1"]).within(&within);
    step.extend(&files);
    Ok(step)
}

fn fuzz(seconds: &str) -> Result<()> {
    let folder = repository().join("fuzz");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        // An input that takes 10 s is a finding too.
        let arguments = ["+nightly", "fuzz", "run", &target, "--", &limit, "-timeout=10"];
        run(&Step::new("cargo", &arguments).within(&folder))?;
    }
    Ok(())
}

/// One of the bots' scenarios, against the release binary.
fn bots(scenario: &str, arguments: &[String]) -> Result<()> {
    build_release()?;
    let bots = repository().join("target/release/caside-bots");
    let mut step = Step::new(&bots.to_string_lossy(), &[scenario]);
    step.extend(arguments);
    run(&step.with("CASIDE_BIN", repository().join("target/release/caside")))
}

/// The minutes come first; what follows goes to the bots as it is.
fn soak(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((minutes, rest)) if !minutes.starts_with('-') => {
            bots("soak", &[&["--minutes".to_owned(), minutes.clone()], rest].concat())
        }
        _ => bots("soak", arguments),
    }
}

/// The node on one core, the bots on the next.
fn throughput(arguments: &[String]) -> Result<()> {
    build_release()?;
    let release = repository().join("target/release");
    let bots = release.join("caside-bots");
    let mut step = Step::new("taskset", &["-c", "1", &bots.to_string_lossy(), "throughput"]);
    step.extend(arguments);
    run(&step.with("CASIDE_BIN", release.join("caside")))
}
