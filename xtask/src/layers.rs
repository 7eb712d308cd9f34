//! Checks that crates import one another as ARCHITECTURE.md says, and no other way.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Each room of the house and the rooms it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("media", &[]),
    ("store", &["protocol"]),
    ("migrations", &[]),
    ("cluster", &["protocol"]),
    ("actors", &["protocol", "media", "store", "cluster"]),
    (
        "node",
        &["protocol", "media", "store", "migrations", "cluster", "actors"],
    ),
    ("loadtest", &["protocol", "media"]),
    ("xtask", &[]),
];

/// Fails on the first import that the table does not have. Imports that only tests need count too, but for `migrations`,
/// which the tests of `store` may use to make their schema.
pub(crate) fn check(repository: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for (room, allowed) in ALLOWED {
        let manifest = repository.join(room).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name.to_owned();
            }
            let Some(rest) = line.strip_prefix("caside-") else {
                continue;
            };
            let import: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            let for_schema = section == "dev-dependencies" && import == "migrations";
            if !allowed.contains(&import.as_str()) && !for_schema {
                wrong.push(format!("{room} imports {import} [{section}]"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!(
            "imports that the table of ARCHITECTURE.md does not have: {}",
            wrong.join("; ")
        );
    }
    eprintln!("layers: every import is one that the house allows");
    Ok(())
}
