use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Certificate and key for `localhost`, as PEM.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn what_cannot_be_used_is_said_with_the_setting_and_the_file() {
    let ((cert, key), (_, other)) = (pair(), pair());
    let (cert, key, other) = (file(&cert), file(&key), file(&other));
    let empty = file("");
    let broken = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let nowhere = Path::new("/nowhere/at/all.pem");
    assert!(read(cert.path(), key.path()).is_ok());
    for (cert, key, setting, says) in [
        (nowhere, key.path(), "tls_cert", "cannot be read"),
        (empty.path(), key.path(), "tls_cert", "no certificate"),
        (key.path(), key.path(), "tls_cert", "no certificate"),
        (broken.path(), key.path(), "tls_cert", "certificate"),
        (cert.path(), nowhere, "tls_key", "cannot be read"),
        (cert.path(), empty.path(), "tls_key", "no private key"),
        (cert.path(), cert.path(), "tls_key", "no private key"),
        (cert.path(), other.path(), "tls_key", "not the key"),
    ] {
        let error = read(cert, key).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.setting(), setting, "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_bad_certificate_leaves_the_one_before() {
    let ((cert, key), (next, next_key)) = (pair(), pair());
    let (cert, key) = (file(&cert), file(&key));
    let (next, next_key) = (file(&next), file(&next_key));
    let tls = Tls::load(cert.path(), key.path()).unwrap();
    let shown = || tls.shown.0.read().unwrap().cert[0].clone();
    let first = shown();
    assert!(tls.reload(next.path(), key.path()).is_err());
    assert_eq!(shown(), first);
    tls.reload(next.path(), next_key.path()).unwrap();
    assert_eq!(shown(), certificates(next.path()).unwrap()[0]);
}
