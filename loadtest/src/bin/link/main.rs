//! `caside-link`: a link between a node and its clients that is as bad as one says.
//!
//! It joins two network namespaces by a TUN device in each, and carries packets between them in real time, with the delays,
//! losses, rates and queues of the simulations (`media/tests/support/link.rs`). It needs no traffic control of the kernel's:
//! `netem` is a module that many machines lack.
//!
//! Each line of its input is an object: `up` (from the client to the node) and `down` change how packets are treated, and
//! what is left out stays. Each line is answered by one of counters since the start. It ends with its input.
//!
//! ```json
//! {"down": {"loss": 0.05, "delay_ms": 100, "rate": {"bits_per_second": 300000, "queue_ms": 300}}}
//! ```

#![expect(clippy::print_stdout, reason = "its answers are what this program is for")]
#![expect(clippy::disallowed_types, reason = "it is about real time")]

mod direction;
mod orders;

#[allow(dead_code, reason = "the simulations' own link, which use more of it")]
#[path = "../../../../media/tests/support/link.rs"]
mod model;
#[allow(dead_code, reason = "the report of the bots, who use more of it")]
#[path = "../../report.rs"]
mod report;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::time::TimeSpec;
use serde_json::json;
use tappers::{Interface, Tun};

use self::direction::Direction;
use self::orders::Orders;

/// A line of input may be so long.
const LINE_BYTES: usize = 16 << 10;

/// Joins two network namespaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The namespace in which the node runs, such as /proc/123/ns/net.
    #[arg(long)]
    node: PathBuf,
    /// The namespace of the clients.
    #[arg(long)]
    client: PathBuf,
    /// The name of the device in both. Its addresses are somebody else's to set, and so is bringing it up.
    #[arg(long)]
    device: String,
    /// What is lost and late by chance follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let node = open(&arguments.node, &arguments.device)?;
    let client = open(&arguments.client, &arguments.device)?;
    let mut up = Direction::new(arguments.seed);
    let mut down = Direction::new(!arguments.seed);
    // Not the buffered one: what it has taken could not be waited for.
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut lines = Vec::new();
    let start = Instant::now();
    println!("{{\"ready\": true}}");
    std::io::stdout().flush()?;
    loop {
        let next = [up.next_arrival(), down.next_arrival()].into_iter().flatten().min();
        let wait = next.map(|at| TimeSpec::from(at.saturating_duration_since(Instant::now())));
        let mut fds = [
            PollFd::new(node.as_fd(), PollFlags::POLLIN),
            PollFd::new(client.as_fd(), PollFlags::POLLIN),
            PollFd::new(input.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut fds, wait, None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting failed"),
        }
        let told = fds[2].any().unwrap_or(false);
        down.take_from(&node)?;
        up.take_from(&client)?;
        down.deliver_to(&client)?;
        up.deliver_to(&node)?;
        if !told {
            continue;
        }
        let mut some = [0; 4096];
        let len = input.read(&mut some)?;
        if len == 0 {
            return Ok(());
        }
        lines.extend_from_slice(some.get(..len).unwrap_or_default());
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = lines.drain(..=end).collect();
            let Orders {
                up: for_up,
                down: for_down,
            } = Orders::parse(&line)?;
            for_up.into_iter().try_for_each(|order| up.change(&order))?;
            for_down.into_iter().try_for_each(|order| down.change(&order))?;
            let answer = json!({"at_ms": start.elapsed().as_millis(), "up": up.report(), "down": down.report()});
            println!("{answer}");
            std::io::stdout().flush()?;
        }
        if lines.len() > LINE_BYTES {
            bail!("a line of more than {LINE_BYTES} bytes");
        }
    }
}

/// Makes a device in a namespace, and stays there: nothing that follows depends on where this thread is.
fn open(namespace: &Path, device: &str) -> Result<Tun> {
    let file = File::open(namespace).with_context(|| format!("cannot open {}", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", namespace.display()))?;
    let name = Interface::new(device).context("the device's name is none")?;
    let mut device =
        Tun::new_named(name).with_context(|| format!("cannot make a device in {}", namespace.display()))?;
    device.set_nonblocking(true)?;
    Ok(device)
}
