//! Members as the tests see them: processes that are told things, and whose lines are waited for.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::member::{MARK, SETTINGS};

/// How long anything may take on a machine that has other things to do.
pub(crate) const LONG: Duration = Duration::from_secs(20);

type Lines = Arc<(Mutex<Vec<(Instant, String)>>, Condvar)>;

/// A member's process; killed when dropped.
pub(crate) struct Process {
    /// `node-incarnation`
    pub(crate) name: String,
    pub(crate) address: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines,
    /// Lines before this one were waited for.
    next: usize,
    log: NamedTempFile,
}

impl Process {
    /// Starts a member; `settings` are pairs as in `member::be`.
    pub(crate) fn start(name: &str, settings: &str) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "member::run", "--ignored", "--nocapture"])
            .env(SETTINGS, format!("me={name} {settings}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let lines = Lines::default();
        let (stdout, told) = (child.stdout.take().unwrap(), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(MARK) {
                    told.0.lock().unwrap().push((Instant::now(), line.to_owned()));
                    told.1.notify_all();
                }
            }
        });
        let stdin = child.stdin.take();
        let mut process = Self {
            name: name.to_owned(),
            address: String::new(),
            child,
            stdin,
            lines,
            next: 0,
            log,
        };
        let ready = process.wait("ready ");
        process.address = ready.strip_prefix("ready ").unwrap().to_owned();
        process
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{command}").unwrap();
    }

    /// Tells it of these members.
    pub(crate) fn know(&mut self, members: &[(&str, &str)]) {
        let pairs: Vec<String> = members
            .iter()
            .map(|(name, address)| format!(" {name}={address}"))
            .collect();
        self.tell(&format!("know{}", pairs.concat()));
    }

    /// The next line that begins so.
    pub(crate) fn wait(&mut self, start: &str) -> String {
        self.wait_timed(start, LONG).1
    }

    /// The next line that begins so, and when it came.
    pub(crate) fn wait_timed(&mut self, start: &str, limit: Duration) -> (Instant, String) {
        match self.wait_or_not(start, limit) {
            Some(found) => found,
            None => panic!(
                "{}: nothing like '{start}' in {limit:?}; it said {:?}",
                self.name,
                self.said()
            ),
        }
    }

    fn wait_or_not(&mut self, start: &str, limit: Duration) -> Option<(Instant, String)> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.0.lock().unwrap();
        loop {
            let found = lines
                .iter()
                .enumerate()
                .skip(self.next)
                .find(|(_, (_, line))| line.starts_with(start));
            if let Some((nth, found)) = found {
                self.next = nth + 1;
                return Some(found.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Tells a command, and waits for the line that begins with its first word.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        let start = command.split(' ').next().unwrap();
        self.wait(&format!("{start} "))
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn ask_until(&mut self, command: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.ask(command);
            if wanted(&answer) {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "{}: '{command}' gave '{answer}' after {limit:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number at this place of what `received` gives: messages, disorder, age of the oldest in ms.
    pub(crate) fn received(&mut self) -> [u64; 3] {
        numbers(&self.ask("received"))
    }

    /// Waits until so many messages were received in all.
    pub(crate) fn wait_received(&mut self, messages: u64) -> [u64; 3] {
        numbers(&self.ask_until("received", LONG, |answer| numbers::<3>(answer)[0] >= messages))
    }

    /// Everything said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// In how many lines of its log this is.
    pub(crate) fn log(&self, what: &str) -> usize {
        std::fs::read_to_string(self.log.path())
            .unwrap()
            .lines()
            .filter(|line| line.contains(what))
            .count()
    }

    /// The ports it listens on.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let proc = format!("/proc/{}", self.child.id());
        let sockets: Vec<String> = std::fs::read_dir(format!("{proc}/fd"))
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let tables =
            ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("{proc}/net/{name}")).unwrap_or_default());
        tables
            .iter()
            .flat_map(|table| table.lines().skip(1))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            // The state of a listener.
            .filter(|words| words[3] == "0A" && sockets.iter().any(|inode| inode == words[9]))
            .map(|words| u16::from_str_radix(words[1].rsplit(':').next().unwrap(), 16).unwrap())
            .collect()
    }

    /// Sends a signal; gives back when.
    pub(crate) fn signal(&self, signal: &str) -> Instant {
        let at = Instant::now();
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        at
    }

    /// Has it stop in good order.
    pub(crate) fn stop(&mut self) {
        self.stdin = None;
    }

    /// Kills it as `kill -9` does, and waits until it is gone; gives back when it was killed.
    pub(crate) fn kill(&mut self) -> Instant {
        let at = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        at
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it was killed already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines
                .get(lines.len().saturating_sub(60)..)
                .unwrap_or_default()
                .join("\n");
            drop(writeln!(
                std::io::stderr(),
                "---- {} said {:?}\n{tail}",
                self.name,
                self.said()
            ));
        }
    }
}

/// The numbers of a line, after its first word.
pub(crate) fn numbers<const N: usize>(line: &str) -> [u64; N] {
    let mut words = line.split(' ').skip(1);
    std::array::from_fn(|_| {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("numbers in '{line}'"))
    })
}

/// Prints a figure, past the harness's capture.
pub(crate) fn figure(text: &str) {
    // In one write, and not captured.
    std::io::stderr()
        .write_all(format!("figure: {text}\n").as_bytes())
        .unwrap();
}

/// Has each know all others.
pub(crate) fn introduce(members: &mut [&mut Process]) {
    let all: Vec<(String, String)> = members
        .iter()
        .map(|one| (one.name.clone(), one.address.clone()))
        .collect();
    for member in members {
        let others: Vec<(&str, &str)> = all
            .iter()
            .filter(|(name, _)| *name != member.name)
            .map(|(name, address)| (&**name, &**address))
            .collect();
        member.know(&others);
    }
}
