//! The certificate that this node shows in every DTLS handshake.
//!
//! It is self-signed: the client knows it by the fingerprint in the signaling, not by a chain (RFC 8122).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::crypto::crypto;
use crate::dtls::HandshakeConfigs;
use crate::parameters::Fingerprint;

/// A self-signed ECDSA P-256 certificate with its private key. One serves all transports of a node.
#[derive(Clone)]
pub struct Certificate {
    pem: Arc<str>,
    configs: Arc<HandshakeConfigs>,
    fingerprint: Fingerprint,
}

/// Why a certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The crypto library could not make a key pair or sign.
    #[error("cannot generate a certificate")]
    Generate(#[source] rtc_shared::error::Error),
    /// The text is not what [`Certificate::to_pem`] writes.
    #[error("cannot read the certificate")]
    Pem(#[source] rtc_shared::error::Error),
    /// The private key cannot be written.
    #[error("cannot write the private key")]
    Export(#[source] rtc_shared::error::Error),
    /// The key cannot sign DTLS handshakes with the cipher suites of WebRTC (it has to be ECDSA P-256).
    #[error("the certificate is unusable for DTLS")]
    Unusable(#[source] rtc_shared::error::Error),
}

impl Certificate {
    /// Generates a key pair and a certificate for it.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] when the crypto library fails (no randomness).
    pub fn generate() -> Result<Self, CertificateError> {
        // What rcgen generates when no algorithm is named is ECDSA P-256, the one that RFC 8827 §6.5 asks for.
        rtc_dtls::crypto::Certificate::generate_self_signed(vec!["caside".to_owned()], crypto())
            .map_err(CertificateError::Generate)
            .and_then(Self::new)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] when it is something else, [`CertificateError::Unusable`] when the key is not ECDSA P-256.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        rtc_dtls::crypto::Certificate::from_pem(pem, crypto())
            .map_err(CertificateError::Pem)
            .and_then(Self::new)
    }

    /// The private key and the certificate as text, to keep the fingerprint over restarts. Secret.
    pub fn to_pem(&self) -> String {
        self.pem.to_string()
    }

    /// The sha-256 fingerprint for `a=fingerprint` and ORTC's DTLS parameters.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(crate) fn handshake_configs(&self) -> &Arc<HandshakeConfigs> {
        &self.configs
    }

    fn new(inner: rtc_dtls::crypto::Certificate) -> Result<Self, CertificateError> {
        let configs = HandshakeConfigs::new(&inner).map_err(CertificateError::Unusable)?;
        let der = inner
            .certificate
            .first()
            .ok_or(CertificateError::Unusable(rtc_shared::error::Error::ErrNoCertificates))?;
        let digest = digest::digest(&digest::SHA256, der).as_ref().to_vec();
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest,
        };
        let pem = inner.serialize_pem().map_err(CertificateError::Export)?;
        Ok(Self {
            pem: pem.into(),
            configs: Arc::new(configs),
            fingerprint,
        })
    }
}

impl fmt::Debug for Certificate {
    /// The private key stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether `certificate` (DER) has one of the `fingerprints`. Unknown algorithms are passed over (RFC 8122 §5).
pub(crate) fn matches_any(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.algorithm.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        digest::digest(algorithm, certificate).as_ref() == fingerprint.digest.as_slice()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_keeps_the_fingerprint() {
        let certificate = Certificate::generate().unwrap();
        let again = Certificate::from_pem(&certificate.to_pem()).unwrap();
        assert_eq!(again.fingerprint(), certificate.fingerprint());
        assert_eq!(certificate.fingerprint().digest.len(), 32);
        assert_ne!(
            Certificate::generate().unwrap().fingerprint(),
            certificate.fingerprint()
        );
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(
                matches!(Certificate::from_pem(text), Err(CertificateError::Pem(_))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn any_fingerprint_of_any_known_algorithm_matches() {
        let der = b"not really a certificate";
        let fingerprint = |name: &str, digest: &[u8]| Fingerprint {
            algorithm: name.to_owned(),
            digest: digest.to_vec(),
        };
        let unknown = fingerprint("md5", &[0; 16]);
        for (name, algorithm) in [
            ("sha-256", &digest::SHA256),
            ("sha-384", &digest::SHA384),
            ("sha-512", &digest::SHA512),
        ] {
            let right = fingerprint(name, digest::digest(algorithm, der).as_ref());
            let wrong = fingerprint(name, digest::digest(algorithm, b"another").as_ref());
            assert!(matches_any(der, &[unknown.clone(), wrong.clone(), right]));
            assert!(!matches_any(der, &[unknown.clone(), wrong]));
        }
        assert!(!matches_any(der, &[]));
    }
}
