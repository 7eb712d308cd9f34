//! Redis, PostgreSQL, an S3-compatible server and HAProxy.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::children::{Children, Interrupts, bound};
use super::ports::Ports;
use super::secret;
use crate::process::repository;
use crate::tools;

/// Where recordings go.
pub(super) const BUCKET: &str = "recordings";
/// PostgreSQL makes its first files, moto imports all of AWS.
const START: Duration = Duration::from_secs(60);
/// What a local answer may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Where each is, and what lets the nodes in.
pub(super) struct Services {
    folder: PathBuf,
    redis: u16,
    redis_password: String,
    postgres: u16,
    postgres_password: String,
    s3: u16,
    stats: u16,
}

impl Services {
    /// Chooses ports and passwords.
    pub(super) fn prepare(folder: &Path, ports: &mut Ports) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            redis: ports.take()?,
            redis_password: secret::hex(16)?,
            postgres: ports.take()?,
            postgres_password: secret::hex(16)?,
            s3: ports.take()?,
            stats: ports.take()?,
        })
    }

    pub(super) fn database_url(&self) -> String {
        format!(
            "postgres://caside:{}@127.0.0.1:{}/postgres",
            self.postgres_password, self.postgres
        )
    }

    pub(super) fn redis_url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.redis_password, self.redis)
    }

    pub(super) fn s3_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    /// Starts those that nodes need, and waits until they can be used.
    pub(super) fn start(&self, children: &mut Children, interrupts: &Interrupts) -> Result<()> {
        self.start_redis(children)?;
        let postgres = self.start_postgres(children)?;
        self.start_s3(children)?;
        children.wait_until("redis", START, interrupts, || listens(self.redis))?;
        children.wait_until("postgres", START, interrupts, || is_ready(&postgres, self.postgres))?;
        children.wait_until("s3", START, interrupts, || listens(self.s3))?;
        ensure!(
            answers(self.s3, &format!("PUT /{BUCKET}")),
            "the S3-compatible server made no bucket"
        );
        Ok(())
    }

    fn start_redis(&self, children: &mut Children) -> Result<()> {
        let file = self.folder.join("redis.conf");
        let text = format!(
            "bind 127.0.0.1\nport {}\nrequirepass {}\nsave \"\"\nappendonly no\nmaxmemory-policy noeviction\n",
            self.redis, self.redis_password
        );
        secret::write(&file, &text)?;
        let mut command = bound(Path::new("redis-server"), &[]);
        command.arg(&file).current_dir(&self.folder);
        children.start("redis", command, Signal::TERM)
    }

    /// Makes an empty database and starts its server; the folder of its programs.
    fn start_postgres(&self, children: &mut Children) -> Result<PathBuf> {
        let programs = postgres_programs()?;
        let folder = self.folder.join("postgres");
        fs::create_dir_all(&folder)?;
        let password = folder.join("password");
        secret::write(&password, &self.postgres_password)?;
        // The server refuses to run as root.
        let privileges: &[&str] = if tools::is_root() {
            done(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&folder))?;
            &["--reuid", "postgres", "--regid", "postgres", "--init-groups"]
        } else {
            &[]
        };
        let data = folder.join("data");
        let mut make = bound(&programs.join("initdb"), privileges);
        make.args([
            "--username=caside",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg("--pwfile")
        .arg(&password)
        .arg("-D")
        .arg(&data);
        done(make.current_dir("/"))?;
        let mut serve = bound(&programs.join("postgres"), privileges);
        serve
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &self.postgres.to_string()])
            // The path of a socket file may be too long for one.
            .args(["-c", "unix_socket_directories="])
            .current_dir("/");
        // Fast: without waiting for sessions to end by themselves.
        children.start("postgres", serve, Signal::INT)?;
        Ok(programs)
    }

    /// moto: what the tests use. It keeps objects for as long as it runs.
    fn start_s3(&self, children: &mut Children) -> Result<()> {
        let mut command = bound(&tools::python_bin().join("moto_server"), &[]);
        command
            .args(["-H", "127.0.0.1", "-p", &self.s3.to_string()])
            .current_dir(&self.folder);
        children.start("s3", command, Signal::TERM)
    }

    /// Starts HAProxy with `deploy/haproxy.cfg`, and waits until it has found every node ready; the port of its own pages.
    pub(super) fn start_balancer(
        &self,
        children: &mut Children,
        interrupts: &Interrupts,
        port: u16,
        nodes: &[(&str, u16)],
        sticky: bool,
    ) -> Result<u16> {
        let deployed = fs::read_to_string(repository().join("deploy/haproxy.cfg"))?;
        let names: Vec<&str> = nodes.iter().map(|(name, _)| *name).collect();
        let file = self.folder.join("haproxy.cfg");
        fs::write(&file, with_servers(&deployed, &names))?;
        let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("haproxy");
        let mut command = bound(Path::new(program), &[]);
        command
            .args(["-db", "-f"])
            .arg(&file)
            .current_dir(&self.folder)
            .env("CASIDE_BIND", format!("127.0.0.1:{port}"))
            .env("CASIDE_STATS_BIND", format!("127.0.0.1:{}", self.stats))
            .env("CASIDE_MAXCONN", "1000");
        for (name, port) in nodes {
            command.env(address_variable(name), format!("127.0.0.1:{port}"));
        }
        if !sticky {
            command.env("CASIDE_ROUND_ROBIN", "yes");
        }
        children.start("haproxy", command, Signal::TERM)?;
        children.wait_until("haproxy", START, interrupts, || answers(port, "GET /health/ready"))?;
        Ok(self.stats)
    }
}

/// The variable of `deploy/haproxy.cfg` that has this node's address.
fn address_variable(node: &str) -> String {
    format!("CASIDE_{}", node.to_ascii_uppercase())
}

/// The balancer's configuration with a server for each of these nodes, in place of those that are in it.
fn with_servers(deployed: &str, nodes: &[&str]) -> String {
    let server = |line: &str| line.trim_start().starts_with("server ");
    let mut text = String::new();
    let mut after_server = false;
    for line in deployed.lines() {
        if server(line) && !after_server {
            for node in nodes {
                text += &format!("    server {node} \"${{{}}}\"\n", address_variable(node));
            }
        } else if !server(line) {
            text += line;
            text.push('\n');
        }
        after_server = server(line);
    }
    text
}

/// Where the newest PostgreSQL has its programs.
fn postgres_programs() -> Result<PathBuf> {
    let version = |folder: &Path| -> u32 {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.parse().unwrap_or(0)
    };
    fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not where Debian has it")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("bin/initdb").exists())
        .max_by_key(|folder| version(folder))
        .map(|folder| folder.join("bin"))
        .context("no PostgreSQL in /usr/lib/postgresql has its programs")
}

fn is_ready(programs: &Path, port: u16) -> bool {
    Command::new(programs.join("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
        .status()
        .is_ok_and(|status| status.success())
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether a request without a body, like `GET /health/ready`, is answered with 200.
pub(super) fn answers(port: u16, request: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.set_write_timeout(Some(ANSWER))?;
        write!(
            socket,
            "{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut status = [0; 12];
        socket.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn done(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_of_the_balancer_gets_the_nodes_there_are() {
        let deployed = "backend a\n    server n1 \"${CASIDE_N1-n1:80}\"\n    server n2 x\nbackend b\n    server n1 y\n\nfrontend c\n";
        let servers =
            "    server n1 \"${CASIDE_N1}\"\n    server n2 \"${CASIDE_N2}\"\n    server n3 \"${CASIDE_N3}\"\n";
        assert_eq!(
            with_servers(deployed, &["n1", "n2", "n3"]),
            format!("backend a\n{servers}backend b\n{servers}\nfrontend c\n")
        );
    }
}
