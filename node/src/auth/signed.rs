//! URLs that are good for a while without a header: `?expires=…&signature=…`.

use std::time::Duration;

use aws_lc_rs::hmac;
use time::OffsetDateTime;

use super::hex;

/// Signs and checks paths.
pub(crate) struct UrlSigner(hmac::Key);

impl UrlSigner {
    /// With a key of its own.
    pub(crate) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// The path with a signature that holds from `now` for `valid`.
    pub(crate) fn sign(&self, path: &str, now: OffsetDateTime, valid: Duration) -> String {
        let expires = now.unix_timestamp().saturating_add_unsigned(valid.as_secs());
        let tag = hmac::sign(&self.0, message(path, expires).as_bytes());
        format!("{path}?expires={expires}&signature={}", hex::encode(tag.as_ref()))
    }

    /// Whether this is the signature of `path` until `expires`, and that is to come.
    pub(crate) fn holds(&self, path: &str, expires: i64, signature: &str, now: OffsetDateTime) -> bool {
        let Some(tag) = hex::decode::<32>(signature) else {
            return false;
        };
        let right = hmac::verify(&self.0, message(path, expires).as_bytes(), &tag).is_ok();
        right && now.unix_timestamp() < expires
    }
}

fn message(path: &str, expires: i64) -> String {
    format!("{expires}\n{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_path_and_its_time_only() {
        let signer = UrlSigner::new(hmac::Key::new(hmac::HMAC_SHA256, b"k"));
        let now = OffsetDateTime::from_unix_timestamp(1_000).unwrap();
        let url = signer.sign("/recordings/1/files/a.webm", now, Duration::from_secs(60));
        let (path, query) = url.split_once('?').unwrap();
        let signature = query.strip_prefix("expires=1060&signature=").unwrap();
        let at = |s| OffsetDateTime::from_unix_timestamp(s).unwrap();
        assert!(signer.holds(path, 1060, signature, at(1_059)));
        assert!(!signer.holds(path, 1060, signature, at(1_060)));
        assert!(!signer.holds(path, 1061, signature, at(1_059)));
        assert!(!signer.holds("/recordings/2/files/a.webm", 1060, signature, at(1_059)));
        assert!(!signer.holds(path, 1060, "", at(1_059)));
    }
}
