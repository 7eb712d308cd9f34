use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use caside_protocol::UserId;
use serde_json::{Value, json};

use super::*;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}

fn claims(exp: i64) -> Claims {
    Claims {
        iss: "caside".to_owned(),
        sub: UserId::new("ada").unwrap(),
        name: None,
        iat: now(),
        nbf: None,
        exp,
        jti: None,
        scope: "user".to_owned(),
        room: None,
        role: None,
        grants: None,
        room_since_us: None,
    }
}

fn rsa_pem(size: KeySize) -> String {
    let key = PrivateDecryptingKey::generate(size).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()))
}

fn ed_pem() -> String {
    let der = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()))
}

fn ring(pem: &str) -> KeyRing {
    let file = parse_key(pem.as_bytes()).unwrap();
    KeyRing {
        signer: file.signer.unwrap(),
        verifiers: vec![file.verifier],
    }
}

fn secret_ring() -> KeyRing {
    let (signer, verifier) = from_secret(b"0123456789abcdef0123456789abcdef");
    KeyRing {
        signer,
        verifiers: vec![verifier],
    }
}

/// A token with any header, signed by HMAC.
fn forged(header: &Value, claims: &Claims, secret: &[u8]) -> String {
    let part = |value: Vec<u8>| jsonwebtoken_base64(&value);
    let body = format!(
        "{}.{}",
        part(serde_json::to_vec(header).unwrap()),
        part(serde_json::to_vec(claims).unwrap())
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body.as_bytes());
    format!("{body}.{}", part(tag.as_ref().to_vec()))
}

/// Base64url without padding (RFC 4648 §5).
fn jsonwebtoken_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * n)) as usize & 63]));
        }
    }
    text
}

#[test]
fn a_key_that_is_ours_alone_signs_in_our_name_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let own = KeyRing::own(&keys).unwrap();
    let earlier = ed_pem();
    std::fs::write(keys.join("earlier.pem"), &earlier).unwrap();
    let theirs = KeyRing::own(&dir.path().join("theirs")).unwrap();
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", spki(&theirs)));
    std::fs::write(keys.join("theirs.pem"), public).unwrap();
    let all = KeyRing::own(&keys).unwrap();
    let foreign = Claims {
        iss: "billing".to_owned(),
        ..claims(now() + 60)
    };
    for (signer, good) in [(&own, false), (&ring(&earlier), false), (&theirs, true)] {
        assert_eq!(all.verify(&signer.sign(&foreign).unwrap()).is_ok(), good);
        assert!(all.verify(&signer.sign(&claims(now() + 60)).unwrap()).is_ok());
    }
    // What applications share with us they sign in their own name.
    let shared = secret_ring();
    assert!(shared.verify(&shared.sign(&foreign).unwrap()).is_ok());
}

/// The public Ed25519 key of a ring (RFC 8410 §4).
fn spki(ring: &KeyRing) -> Vec<u8> {
    let jwk = ring.public_keys().keys.remove(0);
    let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
        panic!("not Ed25519")
    };
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(from_base64(&pair.x));
    der
}

/// Base64url without padding (RFC 4648 §5).
fn from_base64(text: &str) -> Vec<u8> {
    let (mut bits, mut have, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.bytes() {
        let digit = DIGITS.iter().position(|d| *d == c).unwrap();
        (bits, have) = (bits << 6 | u32::try_from(digit).unwrap(), have + 6);
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from(bits >> have & 0xff).unwrap());
        }
    }
    bytes
}

#[test]
fn each_kind_of_key_signs_what_it_verifies_and_the_others_do_not() {
    let rings = [ring(&rsa_pem(KeySize::Rsa2048)), ring(&ed_pem()), secret_ring()];
    for (i, signer) in rings.iter().enumerate() {
        let token = signer.sign(&claims(now() + 60)).unwrap();
        for (j, verifier) in rings.iter().enumerate() {
            assert_eq!(verifier.verify(&token).is_ok(), i == j, "{i} {j}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret_and_no_algorithm_is_none() {
    let pem = rsa_pem(KeySize::Rsa2048);
    let ring = ring(&pem);
    let jwk = ring.public_keys().keys.remove(0);
    let kid = jwk.common.key_id.clone().unwrap();
    let AlgorithmParameters::RSA(public) = &jwk.algorithm else {
        panic!("not RSA")
    };
    let claims = claims(now() + 60);
    for secret in [public.n.as_bytes(), pem.as_bytes(), kid.as_bytes(), b""] {
        for header in [
            json!({"alg": "HS256", "typ": "JWT", "kid": kid}),
            json!({"alg": "HS256", "typ": "JWT"}),
            json!({"alg": "none", "kid": kid}),
            json!({"alg": "RS256", "kid": kid}),
            json!({"alg": "RS256", "kid": kid, "jwk": {"kty": "oct", "k": "AAAA"}}),
        ] {
            assert_eq!(
                ring.verify(&forged(&header, &claims, secret)),
                Err(TokenError::Invalid),
                "{header}"
            );
        }
    }
}

#[test]
fn a_token_of_an_application_needs_no_key_id_but_a_wrong_one_is_refused() {
    let ring = secret_ring();
    let secret = b"0123456789abcdef0123456789abcdef";
    let claims = claims(now() + 60);
    let header = |kid: Option<&str>| match kid {
        Some(kid) => json!({"alg": "HS256", "kid": kid}),
        None => json!({"alg": "HS256"}),
    };
    assert_eq!(ring.verify(&forged(&header(None), &claims, secret)), Ok(claims.clone()));
    assert_eq!(
        ring.verify(&forged(&header(Some("another")), &claims, secret)),
        Err(TokenError::Invalid)
    );
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    assert_eq!(
        ring.verify(&forged(&critical, &claims, secret)),
        Err(TokenError::Invalid)
    );
}

#[test]
fn clocks_may_differ_by_five_seconds_only() {
    let ring = secret_ring();
    let verify = |claims: &Claims| ring.verify(&ring.sign(claims).unwrap()).map(|_| ());
    assert_eq!(verify(&claims(now() - 2)), Ok(()));
    assert_eq!(verify(&claims(now() - 10)), Err(TokenError::Expired));
    let not_before = |nbf| Claims {
        nbf: Some(nbf),
        ..claims(now() + 600)
    };
    assert_eq!(verify(&not_before(now() + 2)), Ok(()));
    assert_eq!(verify(&not_before(now() + 30)), Err(TokenError::NotYet));
}

#[test]
fn what_is_no_token_is_invalid() {
    let ring = secret_ring();
    let token = ring.sign(&claims(now() + 60)).unwrap();
    let mut changed = token.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    for wrong in [
        "",
        "a.b.c",
        "....",
        token.trim_start_matches('e'),
        &String::from_utf8(changed).unwrap(),
        &long,
    ] {
        assert_eq!(ring.verify(wrong), Err(TokenError::Invalid), "{wrong}");
    }
}

#[test]
fn old_keys_verify_while_the_first_one_signs() {
    let dir = tempfile::tempdir().unwrap();
    let (new, old) = (dir.path().join("new.pem"), dir.path().join("old.pem"));
    std::fs::write(&new, ed_pem()).unwrap();
    std::fs::write(&old, rsa_pem(KeySize::Rsa2048)).unwrap();
    let load = |files: &[&Path]| {
        let files = files.iter().map(|f| f.to_str().unwrap().parse().unwrap()).collect();
        KeyRing::load(&Settings {
            jwt_private_key_file: files,
            ..Settings::default()
        })
    };
    let before = load(&[&old]).unwrap();
    let after = load(&[&new, &old]).unwrap();
    let token = before.sign(&claims(now() + 60)).unwrap();
    assert!(after.verify(&token).is_ok());
    assert!(before.verify(&after.sign(&claims(now() + 60)).unwrap()).is_err());
    assert_eq!(after.public_keys().keys.len(), 2);
    let published = serde_json::to_string(&after.public_keys()).unwrap();
    assert!(
        !published.contains("\"d\"") && !published.contains("\"k\""),
        "{published}"
    );
    assert!(secret_ring().public_keys().keys.is_empty());
}

#[test]
fn our_own_key_is_made_once_and_only_we_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: dir.path().to_str().unwrap().parse().unwrap(),
        ..Settings::default()
    };
    let first = KeyRing::load(&settings).unwrap();
    let token = first.sign(&claims(now() + 60)).unwrap();
    let second = KeyRing::load(&settings).unwrap();
    assert!(second.verify(&token).is_ok());
    let tag = |ring: &KeyRing| hmac::sign(&ring.derive("x"), b"y").as_ref().to_vec();
    assert_eq!(tag(&first), tag(&second));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("keys").join(OWN_KEY)), 0o600);
    assert_eq!(mode(&dir.path().join("keys")), 0o700);
    assert_eq!(std::fs::read_dir(dir.path().join("keys")).unwrap().count(), 1);
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", vec![0; 8]));
    let nonsense = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![0; 48]));
    for wrong in ["", "hello", certificate.as_str(), nonsense.as_str()] {
        assert!(parse_key(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
