//! A PostgreSQL server of a test's own: on a Unix socket in a temporary directory, gone with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use caside_store::{Store, StoreOptions};
use tempfile::TempDir;

/// What a test says when there is no server to start.
const MISSING: &str = "these tests start their own PostgreSQL server: apt install postgresql";

/// A running server.
pub(crate) struct Postgres {
    dir: TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server with an empty database.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("caside-pg-").tempdir().unwrap();
        copy(&template(), &dir.path().join("data"));
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(dir.path()));
        }
        let mut postgres = Self { dir, server: None };
        postgres.restart().await;
        postgres
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@localhost/postgres?host={}",
            self.dir.path().display()
        )
    }

    /// Where the server listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// Ends the server at once, as a crash of its machine would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal(&server, "-QUIT");
            server.wait().unwrap();
        }
    }

    /// Starts the server again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let log = File::create(self.dir.path().join("server.log")).unwrap();
        // `setpriv` becomes the server: its process id is the server's, which dies with the test.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if is_root() {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
        }
        command
            .arg(bin("postgres"))
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .arg("-k")
            .arg(self.dir.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40"])
            .args(["-c", "shared_buffers=16MB"])
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().expect(MISSING));
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&mut self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let error = match Store::connect(&self.url(), StoreOptions::default()).await {
                Ok(store) => return store.close().await.unwrap(),
                Err(error) => error,
            };
            let ended = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.path().join("server.log")).unwrap();
                panic!("PostgreSQL does not start: {error:?}\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Freezes the server and its sessions: connections stay open, nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, name: &str) {
        let Some(server) = &self.server else { return };
        // The sessions are the server's children.
        let output = Command::new("pgrep").args(["-P", &server.id().to_string()]).output();
        let children = String::from_utf8(output.expect("pgrep, of procps").stdout).unwrap();
        signal(server, name);
        for child in children.split_whitespace() {
            // One may have ended since.
            drop(Command::new("kill").args([name, child]).stderr(Stdio::null()).status());
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        self.stop();
    }
}

fn signal(server: &Child, name: &str) {
    run(Command::new("kill").args([name, &server.id().to_string()]));
}

/// The newest installed server's program of this name.
fn bin(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").expect(MISSING);
    let newest = installed
        .map(|entry| entry.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .max_by_key(|path| version(path));
    newest.or_else(|| on_path(name)).expect(MISSING)
}

fn version(bin: &Path) -> u32 {
    let number = bin
        .components()
        .nth(4)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
}

/// An empty cluster, made once and copied by every test: `initdb` takes a second or two.
fn template() -> PathBuf {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let template = cache.join(format!("postgres-{}", version(&bin("initdb"))));
    let lock = File::create(cache.join("postgres.lock")).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        run(as_postgres(&bin("initdb")).arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]));
        let fresh = cache.join("postgres-fresh");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).unwrap();
        }
        copy(&data, &fresh);
        fs::rename(&fresh, &template).unwrap();
    }
    template
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// The server refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"])
        .arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.current_dir("/").output().expect(MISSING);
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}
