//! Lists the web app's files, so that the binary carries them. No crate does it: the list is a directory walk, and a
//! change of a file must rebuild, which `include_bytes!` sees to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What of `web/` is served; its tests are not.
const SERVED: [&str; 4] = ["app", "dashboard", "icons", "sdk"];
/// The kinds of files that are served.
const KINDS: [&str; 8] = ["html", "css", "js", "svg", "png", "ico", "webmanifest", "woff2"];

fn main() -> io::Result<()> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web").canonicalize()?;
    println!("cargo::rerun-if-changed={}", web.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&web)? {
        let path = entry?.path();
        let served = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| SERVED.contains(&name));
        match path.is_dir() {
            true if served => walk(&path, &mut files)?,
            false => keep(path, &mut files),
            true => {}
        }
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&web).map_err(io::Error::other)?;
        writeln!(
            list,
            "    ({:?}, include_bytes!({:?}).as_slice()),",
            format!("/{}", name.display()),
            file.display().to_string()
        )
        .map_err(io::Error::other)?;
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("assets.rs"), list)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            keep(path, files);
        }
    }
    Ok(())
}

fn keep(path: PathBuf, files: &mut Vec<PathBuf>) {
    if path
        .extension()
        .and_then(|ext| ext.to_str())
        .is_some_and(|ext| KINDS.contains(&ext))
    {
        files.push(path);
    }
}
