//! A `caside` process.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{PATIENCE, Request};

/// A running node. Its log is shown when the test fails.
pub(crate) struct Node {
    child: Child,
    /// Host and port of its HTTP listener.
    pub(crate) address: String,
    /// Where it keeps its data.
    pub(crate) dir: Arc<TempDir>,
    lines: watch::Receiver<Vec<String>>,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caside"));
    command
        .current_dir(dir)
        .env_clear()
        .env("CASIDE_DATA_DIR", dir.join("data"))
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command of `caside` to its end.
pub(crate) async fn run(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let output = command(dir).args(args).envs(env.iter().copied()).output();
    timeout(PATIENCE, output).await.expect("the command ends").unwrap()
}

fn collect(source: impl AsyncRead + Unpin + Send + 'static, lines: Arc<watch::Sender<Vec<String>>>) {
    let mut source = BufReader::new(source).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = source.next_line().await {
            lines.send_modify(|all| all.push(line));
        }
    });
}

impl Node {
    /// Starts a node with nothing but its defaults.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a node with these variables.
    pub(crate) async fn with(env: &[(&str, &str)]) -> Self {
        Self::in_dir(Arc::new(tempfile::tempdir().unwrap()), env).await
    }

    /// Starts a node on the data of another.
    pub(crate) async fn in_dir(dir: Arc<TempDir>, env: &[(&str, &str)]) -> Self {
        let mut command = command(dir.path());
        command
            .env("CASIDE_LISTEN", "127.0.0.1:0")
            .env("CASIDE_MEDIA_PORT", "0");
        for (name, value) in env {
            // Nothing takes a variable away, so that a file can say what it would.
            match *value {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        let mut child = command.spawn().unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        collect(child.stdout.take().unwrap(), sender.clone());
        collect(child.stderr.take().unwrap(), sender);
        let mut node = Self {
            child,
            address: String::new(),
            dir,
            lines,
        };
        let listening = node.line("listening on ").await;
        node.address = listening.split_once("://").expect("a URL").1.to_owned();
        node
    }

    /// What follows `start` in the line that has it, now or later.
    pub(crate) async fn line(&self, start: &str) -> String {
        let find = |all: &Vec<String>| all.iter().find_map(|line| Some(line.split_once(start)?.1.to_owned()));
        let mut lines = self.lines.clone();
        let found = timeout(PATIENCE, lines.wait_for(|all| find(all).is_some())).await;
        let found = found
            .unwrap_or_else(|_| panic!("no line with {start:?}"))
            .expect("the node runs");
        find(&found).unwrap()
    }

    /// Waits until so many lines have had this.
    pub(crate) async fn lines(&self, part: &str, count: usize) {
        let mut lines = self.lines.clone();
        let many = |all: &Vec<String>| all.iter().filter(|line| line.contains(part)).count() >= count;
        let found = timeout(PATIENCE, lines.wait_for(many)).await;
        drop(
            found
                .unwrap_or_else(|_| panic!("not {count} lines with {part:?}"))
                .expect("the node runs"),
        );
    }

    /// Everything it has printed.
    pub(crate) fn output(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// How often something was refused for this reason, by its metrics.
    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        let page = self.request("GET", "/metrics").send().await;
        assert_eq!(page.status, 200);
        let page = String::from_utf8(page.body.to_vec()).unwrap();
        let start = format!("caside_refused_total{{reason=\"{reason}\"}} ");
        let found = page.lines().find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_else(|| panic!("no reason {reason}")).parse().unwrap()
    }

    /// A request to this node.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(&self.address, method, path)
    }

    /// The demo admin's token.
    pub(crate) async fn admin(&self) -> String {
        let password = self.line("demo password: ").await;
        let answer = self
            .request("POST", "/login")
            .json(&json!({"username": "demo", "password": password}))
            .send()
            .await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// A token for one room, minted by `by`.
    pub(crate) async fn mint(&self, by: &str, user: &str, room: &str, role: &str) -> String {
        let body = json!({"user": user, "room": room, "role": role, "ttl_s": 600});
        let answer = self.request("POST", "/auth/token").bearer(by).json(&body).send().await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Makes an account by the command line and signs in; its token.
    pub(crate) async fn user(&self, name: &str) -> String {
        let made = run(self.dir.path(), &["user", "add", name], &[]).await;
        let made = String::from_utf8(made.stdout).unwrap();
        let (_, password) = made.trim().split_once("password: ").expect("a password");
        let body = json!({"username": name, "password": password});
        let answer: Value = self.request("POST", "/login").json(&body).send().await.json();
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the node runs").to_string();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("the node ends")
            .unwrap()
    }

    /// Stops it in order, and gives its data back.
    pub(crate) async fn stop(mut self) -> Arc<TempDir> {
        self.signal("TERM").await;
        assert!(self.ended().await.success());
        self.dir.clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the node's output\n{}\n---", self.output().join("\n"));
        }
    }
}
