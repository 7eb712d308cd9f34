//! A certificate authority and nodes' certificates for mutual TLS, good for one run: the commands of docs/cluster.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// For as long as a cluster on one's own machine may run.
const DAYS: &str = "30";

/// Makes `ca.pem`, and for each node `NAME.pem` and `NAME.key`, in a folder.
pub(super) fn make(folder: &Path, nodes: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = [
        &["req", "-x509", "-days", DAYS, "-subj", "/CN=Caside cluster"][..],
        &new_key,
        &["-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"],
        &["-addext", "keyUsage=critical,keyCertSign"],
        &["-keyout", "ca.key", "-out", "ca.pem"],
    ];
    openssl(folder, &authority.concat())?;
    for node in nodes {
        let [key, request, certificate, extensions] = ["key", "csr", "pem", "ext"].map(|kind| format!("{node}.{kind}"));
        let subject = format!("/CN={node}");
        let asked = [
            &["req", "-subj", &subject][..],
            &new_key,
            &["-keyout", &key, "-out", &request],
        ];
        openssl(folder, &asked.concat())?;
        let allowed = format!(
            "subjectAltName=DNS:{node},DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n\
             keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n"
        );
        fs::write(folder.join(&extensions), allowed)?;
        let signed = [
            &[
                "x509", "-req", "-in", &request, "-days", DAYS, "-CA", "ca.pem", "-CAkey", "ca.key",
            ][..],
            &["-CAcreateserial", "-extfile", &extensions, "-out", &certificate],
        ];
        openssl(folder, &signed.concat())?;
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot run openssl")?;
    if !output.status.success() {
        bail!(
            "openssl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
