//! Credentials that we make: random, shown once, kept as a hash.

use aws_lc_rs::digest;
use caside_store::refresh_tokens::SecretHash;

use super::hex;

/// What an API key begins with.
pub(crate) const API_KEY: &str = "ck_";
/// What a refresh token begins with.
pub(crate) const REFRESH_TOKEN: &str = "cr_";

/// A new credential of 256 random bits, with its prefix.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn generate(prefix: &str) -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", hex::encode(&bytes)))
}

/// What is kept of a credential; `None` when it is none of this kind.
pub(crate) fn hash(prefix: &str, credential: &str) -> Option<SecretHash> {
    let random = credential.strip_prefix(prefix)?;
    hex::decode::<32>(random)?;
    Some(SecretHash(digest(credential.as_bytes())))
}

/// SHA-256 of a secret.
pub(crate) fn digest(secret: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A password of 100 random bits, in letters and digits that cannot be mistaken.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn password() -> Result<String, aws_lc_rs::error::Unspecified> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let letters: Vec<_> = bytes
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte & 31)))
        .collect();
    let groups = letters
        .chunks(5)
        .map(|group| group.iter().map(|letter| char::from(**letter)).collect::<String>());
    Ok(groups.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_differ_and_are_known_by_their_hash() {
        let (a, b) = (generate(API_KEY).unwrap(), generate(API_KEY).unwrap());
        assert_ne!(a, b);
        assert!(hash(API_KEY, &a).is_some());
        assert_ne!(hash(API_KEY, &a), hash(API_KEY, &b));
        assert_eq!(hash(REFRESH_TOKEN, &a), None);
        assert_eq!(hash(API_KEY, "ck_short"), None);
        assert_ne!(password().unwrap(), password().unwrap());
        assert_eq!(password().unwrap().len(), 23);
    }
}
