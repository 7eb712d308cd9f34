//! The certificate that this node shows in every DTLS handshake.

use crate::parameters::Fingerprint;

/// A self-signed ECDSA P-256 certificate with its private key. One serves all transports of a node.
#[derive(Clone)]
pub struct Certificate {
    fingerprint: Fingerprint,
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The crypto library could not make a key pair or sign.
    #[error("cannot generate a certificate: {0}")]
    Generate(String),
    /// The text is not what [`Certificate::to_pem`] writes.
    #[error("cannot read the certificate: {0}")]
    Pem(String),
}

impl Certificate {
    /// Generates a key pair and a certificate for it.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] when the crypto library fails (no randomness).
    pub fn generate() -> Result<Self, CertificateError> {
        Err(CertificateError::Generate("not built".to_owned()))
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] when it is something else.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        Err(CertificateError::Pem(pem.len().to_string()))
    }

    /// Writes the private key and the certificate, to keep the fingerprint over restarts. Secret.
    pub fn to_pem(&self) -> String {
        String::new()
    }

    /// The sha-256 fingerprint for `a=fingerprint` and ORTC's DTLS parameters.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}
