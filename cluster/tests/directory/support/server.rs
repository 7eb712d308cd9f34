//! A Redis server of our own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// Ends with this value.
#[derive(Debug)]
pub(crate) struct Redis {
    data: TempDir,
    port: u16,
    child: Child,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let data = TempDir::new().unwrap();
        let child = spawn(&data, port);
        Self { data, port, child }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pause(&self) {
        signal(self.child.id(), "STOP");
    }

    pub(crate) fn resume(&self) {
        signal(self.child.id(), "CONT");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`kill`](Self::kill).
    pub(crate) fn restart(&mut self, with_data: bool) {
        if !with_data {
            self.data = TempDir::new().unwrap();
        }
        self.child = spawn(&self.data, self.port);
    }

    /// Keeps its data in memory only, for the sake of speed.
    pub(crate) fn keep_no_data(&self) {
        assert_eq!(ask(self.port, "CONFIG SET appendonly no").as_deref(), Some("+OK\r\n"));
    }

    /// How many scripts Redis ran since it was asked last, and the microseconds that one took it.
    pub(crate) fn script_cost(&self) -> (u64, f64) {
        let told = ask(self.port, "INFO commandstats").unwrap_or_default();
        assert_eq!(ask(self.port, "CONFIG RESETSTAT").as_deref(), Some("+OK\r\n"));
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:"))
            .unwrap_or_default();
        let field = |name: &str| line.split(',').find_map(|pair| pair.strip_prefix(name));
        let calls = field("calls=").and_then(|n| n.parse().ok()).unwrap_or_default();
        (
            calls,
            field("usec_per_call=").and_then(|n| n.parse().ok()).unwrap_or_default(),
        )
    }

    /// Loses one key, as a failover to a replica that is behind does.
    pub(crate) fn lose(&self, key: &str) {
        assert_eq!(ask(self.port, &format!("DEL {key}")).as_deref(), Some(":1\r\n"));
    }

    pub(crate) fn flush(&self) {
        assert_eq!(ask(self.port, "FLUSHALL").as_deref(), Some("+OK\r\n"));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "cannot send {name}");
}

fn spawn(data: &TempDir, port: u16) -> Child {
    let mut child = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
        .args(["--port", &port.to_string(), "--dir"])
        .arg(data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need `redis-server` (Redis 7) in the PATH: install it");
    let end = Instant::now() + Duration::from_secs(10);
    while ask(port, "PING").as_deref() != Some("+PONG\r\n") {
        assert_eq!(child.try_wait().unwrap(), None, "redis-server ended at once");
        assert!(Instant::now() < end, "redis-server does not answer");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn ask(port: u16, command: &str) -> Option<String> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    socket.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = [0; 16_384];
    let n = socket.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..n]).into_owned())
}
