//! The processes of a cluster: started, shown, waited for, and stopped in the reverse order.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often processes are looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// Lines of a log that are shown when its process does not start.
const TAIL: usize = 20;

/// Tells of ctrl-c, SIGTERM and a closed terminal.
pub(super) struct Interrupts(Receiver<()>);

impl Interrupts {
    /// Listens from here on; the signals end this process no more.
    pub(super) fn listen() -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
        let (heard, interrupts) = channel();
        thread::spawn(move || signals.forever().map_while(|_| heard.send(()).ok()).for_each(drop));
        Ok(Self(interrupts))
    }

    /// Whether there was one within this time.
    fn within(&self, time: Duration) -> bool {
        match self.0.recv_timeout(time) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(time);
                false
            }
        }
    }
}

struct Running {
    name: String,
    child: Child,
    /// Its lines go to the terminal: it is a node.
    shown: bool,
    /// Asks it to stop in order.
    ask: Signal,
    ended: Option<ExitStatus>,
}

impl Running {
    /// How it ended, if that was not known yet.
    fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            return self.ended;
        }
        None
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), None) = (pid, self.ended)
            && let Err(error) = kill_process(pid, signal)
        {
            eprintln!("{} cannot be stopped: {error}", self.name);
        }
    }
}

/// All of them, in the order of their start.
pub(super) struct Children {
    logs: PathBuf,
    running: Vec<Running>,
}

impl Children {
    /// None yet; each is to have a log in this folder.
    pub(super) fn new(logs: &Path) -> Self {
        Self {
            logs: logs.to_owned(),
            running: Vec::new(),
        }
    }

    /// Starts a service, whose lines go to its log, and which stops at this signal.
    pub(super) fn start(&mut self, name: &str, command: Command, ask: Signal) -> Result<()> {
        let log = File::create(self.log(name))?;
        let errors = log.try_clone()?;
        self.spawn(name, command, ask, (log.into(), errors.into()), false)
    }

    /// Starts a node, whose lines go to the terminal too.
    pub(super) fn start_shown(&mut self, name: &str, command: Command) -> Result<()> {
        self.spawn(name, command, Signal::TERM, (Stdio::piped(), Stdio::piped()), true)?;
        let log = Arc::new(File::create(self.log(name))?);
        if let Some(node) = self.running.last_mut() {
            if let Some(out) = node.child.stdout.take() {
                pass_on(name, out, Arc::clone(&log));
            }
            if let Some(err) = node.child.stderr.take() {
                pass_on(name, err, log);
            }
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        name: &str,
        mut command: Command,
        ask: Signal,
        (out, err): (Stdio, Stdio),
        shown: bool,
    ) -> Result<()> {
        only_our_environment(&mut command);
        // In a group of its own: ctrl-c at the terminal is for us, who stop them in order.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} with {}", command.get_program().display()))?;
        self.running.push(Running {
            name: name.to_owned(),
            child,
            shown,
            ask,
            ended: None,
        });
        Ok(())
    }

    /// A running one's process id.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        let found = self.running.iter().find(|running| running.name == name);
        found.map(|running| running.child.id())
    }

    /// Waits until `ready` says so of the one of this name.
    ///
    /// # Errors
    /// It ended, or took longer than `patience`, or somebody wants to stop.
    pub(super) fn wait_until(
        &mut self,
        name: &str,
        patience: Duration,
        interrupts: &Interrupts,
        ready: impl Fn() -> bool,
    ) -> Result<()> {
        let mut waited = Duration::ZERO;
        while !ready() {
            let waited_for = self.running.iter_mut().find(|running| running.name == name);
            if let Some(status) = waited_for.and_then(Running::has_ended) {
                bail!("{name} ended before it was ready: {status}\n{}", self.tail(name));
            }
            if waited >= patience {
                bail!(
                    "{name} was not ready after {} s\n{}",
                    patience.as_secs(),
                    self.tail(name)
                );
            }
            if interrupts.within(GLANCE) {
                bail!("stopped before {name} was ready");
            }
            waited += GLANCE;
        }
        Ok(())
    }

    /// Until somebody wants to stop. Says which of them end meanwhile: perhaps one was killed to see what happens, so the
    /// others go on.
    pub(super) fn watch(&mut self, interrupts: &Interrupts) {
        while !interrupts.within(GLANCE) {
            for running in &mut self.running {
                if let Some(status) = running.has_ended() {
                    eprintln!("{} ended: {status}", running.name);
                }
            }
        }
    }

    /// Asks the nodes to stop, all at once, then the services, last started first; who takes longer than `patience`, or
    /// everybody at another interrupt, is killed.
    pub(super) fn stop(&mut self, interrupts: &Interrupts, patience: Duration) {
        let (nodes, services): (Vec<_>, Vec<_>) = self.running.drain(..).partition(|running| running.shown);
        let mut at_once = stop_all(nodes, interrupts, patience, false);
        for service in services.into_iter().rev() {
            at_once = stop_all(vec![service], interrupts, patience, at_once);
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The last lines of a log; a node's were shown already.
    fn tail(&self, name: &str) -> String {
        let path = self.log(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        format!("{}:\n{}", path.display(), last.join("\n"))
    }
}

/// Stops these; whether somebody lost patience.
fn stop_all(mut running: Vec<Running>, interrupts: &Interrupts, patience: Duration, mut at_once: bool) -> bool {
    for one in &running {
        one.signal(if at_once { Signal::KILL } else { one.ask });
    }
    let mut waited = Duration::ZERO;
    let mut killed = at_once;
    loop {
        running.retain_mut(|one| {
            let over = one.ended.is_some() || one.has_ended().is_some();
            !over
        });
        if running.is_empty() {
            return at_once;
        }
        at_once |= interrupts.within(GLANCE);
        waited += GLANCE;
        if (at_once || waited >= patience) && !killed {
            killed = true;
            for one in &running {
                eprintln!("{} is killed", one.name);
                one.signal(Signal::KILL);
            }
        }
    }
}

/// A program that ends when we do, however we end.
pub(super) fn bound(program: &Path, privileges: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).args(privileges).arg(program);
    command
}

/// Keeps settings of ours out of theirs: what they are to have is in their files.
pub(super) fn only_our_environment(command: &mut Command) {
    const KEPT: [&str; 4] = ["PATH", "HOME", "LANG", "RUST_LOG"];
    let given: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(given);
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Shows each line of a node's after its name, and writes it to the log.
fn pass_on(name: &str, lines: impl std::io::Read + Send + 'static, log: Arc<File>) {
    let name = name.to_owned();
    thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            eprintln!("{name} | {line}");
            if let Err(error) = writeln!(&*log, "{line}") {
                eprintln!("{name}'s log cannot be written: {error}");
                return;
            }
        }
    });
}
