//! What of the data directory nobody else may read: keys, the database with its password hashes, recordings.
//!
//! As ssh does with its files, what is ours by name is made private again when it is not. The directory itself may be one
//! that the operator shares (`.`, `/srv`), so of that one we only speak.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

/// What group and others may do, of a file's mode.
const OTHERS: u32 = 0o077;
/// Directories of ours in the data directory.
const DIRECTORIES: [&str; 3] = ["keys", "objects", "spool"];
/// The database that is there by default.
pub(crate) const DATABASE: &str = "caside.db";

/// Makes the data directory, readable by us alone, and sees to it that what is in it is.
///
/// # Errors
/// When it cannot be made, or something in it cannot be made private.
pub(crate) fn data_dir(dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    if let Ok(found) = std::fs::metadata(dir)
        && found.mode() & OTHERS != 0
    {
        tracing::warn!(
            path = %dir.display(),
            mode = format_args!("{:o}", found.mode() & 0o777),
            "the data directory is open to others; what is secret in it is kept private, but chmod 700 is better"
        );
    }
    for name in DIRECTORIES {
        let path = dir.join(name);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        tighten(&path, 0o700)?;
    }
    for entry in std::fs::read_dir(dir.join("keys")).into_iter().flatten().flatten() {
        tighten(&entry.path(), 0o600)?;
    }
    for suffix in ["", "-wal", "-shm"] {
        tighten(&dir.join(format!("{DATABASE}{suffix}")), 0o600)?;
    }
    Ok(())
}

/// Makes the database's file, so that it is private from the first byte on. SQLite gives its other files the same mode.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn database_file(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(DATABASE);
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(e).with_context(|| format!("cannot make the database {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Takes away what others may do with a file or directory, if it is there.
fn tighten(path: &Path, most: u32) -> anyhow::Result<()> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    let private = std::fs::Permissions::from_mode(found.mode() & most);
    std::fs::set_permissions(path, private)
        .with_context(|| format!("{} can be read by others, and cannot be made private", path.display()))?;
    tracing::warn!(path = %path.display(), "others could read this; it is private again");
    Ok(())
}

/// Speaks up when a configured key can be read by everybody. It is not ours to change: it may be mounted.
pub(crate) fn warn_of_open_key(path: &Path) {
    if let Ok(found) = std::fs::metadata(path)
        && found.mode() & 0o007 != 0
    {
        tracing::warn!(path = %path.display(), "every user of this machine can read this private key; chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_ours_is_private_and_what_is_shared_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("new");
        data_dir(&dir).unwrap();
        database_file(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&dir.join(DATABASE))), (0o700, 0o600));

        let open = home.path().join("open");
        let keys = open.join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        let ours = [keys.join("signing.pem"), open.join("caside.db-wal")];
        let theirs = open.join("notes.txt");
        for path in ours.iter().chain([&theirs]) {
            std::fs::write(path, "x").unwrap();
            chmod(path, 0o644);
        }
        chmod(&open, 0o755);
        chmod(&keys, 0o755);
        data_dir(&open).unwrap();
        assert_eq!((mode(&open), mode(&keys), mode(&theirs)), (0o755, 0o700, 0o644));
        for path in &ours {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }
}
