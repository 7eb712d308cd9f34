//! An S3-compatible server of a test's own: moto, on a port of its choice, gone with the test.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use caside_store::objects::{S3Credentials, S3Settings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a test says when there is no server to start.
const MISSING: &str = "these tests start an S3-compatible server: pip install 'moto[server]>=5.2.2'";

/// A running server with the bucket `recordings`.
pub(crate) struct S3Server {
    server: Option<Child>,
    address: String,
    _dir: TempDir,
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("server.log");
        // `setpriv` becomes the server, which dies with the test.
        let spawn = |program: &[&str]| {
            let log = fs::File::create(&log).unwrap();
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .args(program)
                .args(["-H", "127.0.0.1", "-p", "0"])
                .env("PYTHONUNBUFFERED", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("setpriv, of util-linux")
        };
        let mut server = spawn(&["python3", "-m", "moto.server"]);
        let address = address(&mut server, &log).await;
        let running = Self {
            server: Some(server),
            address,
            _dir: dir,
        };
        let made = http(&running.address, "PUT /recordings").await;
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        running
    }

    pub(crate) fn settings(&self, bucket: &str) -> S3Settings {
        S3Settings {
            bucket: bucket.to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            region: "us-east-1".to_owned(),
            credentials: S3Credentials::Static {
                access_key_id: "test".to_owned(),
                secret_access_key: "test".to_owned(),
                session_token: None,
            },
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Waits until no multipart upload is open: an abort goes on after the upload has failed.
    pub(crate) async fn wait_until_no_uploads(&self, bucket: &str) {
        let list = format!("GET /{bucket}?uploads");
        let none = async {
            while http(&self.address, &list).await.contains("<UploadId>") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), none)
            .await
            .expect("an upload was left open");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The address that the server says it has.
async fn address(server: &mut Child, log: &std::path::Path) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = fs::read_to_string(log).unwrap();
        let running = said.lines().find_map(|line| line.split_once("Running on http://"));
        if let Some((_, address)) = running {
            return address.split_whitespace().next().unwrap().to_owned();
        }
        let ended = server.try_wait().unwrap().is_some();
        assert!(!ended && tokio::time::Instant::now() < deadline, "{MISSING}\n{said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One plain request without a body; the whole answer.
async fn http(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Gets an `http` URL as anybody would.
pub(crate) async fn http_get(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    http(address, &format!("GET /{path}")).await
}
