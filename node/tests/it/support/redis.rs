//! A Redis server of our own.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PATIENCE;

/// Ends with this value.
pub(crate) struct Redis {
    /// Where it is.
    pub(crate) url: String,
    _dir: TempDir,
    _child: Child,
}

/// A port that nobody has now.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let (port, dir) = (free_port().await, tempfile::tempdir().unwrap());
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &port.to_string(),
            ])
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let connecting = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, connecting).await.expect("Redis listens");
        Self {
            url: format!("redis://127.0.0.1:{port}/"),
            _dir: dir,
            _child: child,
        }
    }
}
