//! TLS of the listeners: the certificate, which can be changed while connections run, and the handshake, which is bounded.
//!
//! TLS 1.2 and 1.3 on aws-lc; the one protocol is HTTP/1.1, from which WebSockets are upgraded. Absent on purpose: client
//! certificates (links between nodes have theirs, in `cluster`), HTTP/2.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, Ticketer};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};
use tokio_rustls::server::TlsStream;

use caside_actors::refused::{self, Reason};

use crate::client::{Client, Shares};
use crate::config::Settings;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at a time; each costs a signature, and memory until it ends.
const MAX_HANDSHAKES: usize = 512;
/// Handshakes of one address at a time, so that one does not take all of them.
const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// The certificates could not be read.
    #[error("{path}: {reason}", path = .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key could not be read.
    #[error("{path}: {reason}", path = .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The two are not of one another.
    #[error("{path} is not the key of the first certificate in CASIDE_TLS_CERT", path = .path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] RustlsError),
}

impl TlsError {
    /// The setting to put right.
    pub(crate) fn setting(&self) -> &'static str {
        match self {
            Self::Certificate { .. } | Self::Setup(_) => "tls_cert",
            Self::Key { .. } | Self::Mismatch { .. } => "tls_key",
        }
    }
}

/// Where certificate and key are, when TLS is on.
pub(crate) fn files(settings: &Settings) -> Option<(&Path, &Path)> {
    Some((&settings.tls_cert.as_ref()?.0, &settings.tls_key.as_ref()?.0))
}

/// Reads certificates and key and checks that they belong together.
///
/// # Errors
/// [`TlsError`] names the file.
pub(crate) fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert)?;
    let wrong_key = |reason: String| TlsError::Key {
        path: key.to_owned(),
        reason,
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong_key(said(&e, "no private key")))?;
    match CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()) {
        Ok(certified) => Ok(certified),
        Err(RustlsError::InconsistentKeys(_)) => Err(TlsError::Mismatch { path: key.to_owned() }),
        Err(e @ RustlsError::InvalidCertificate(_)) => Err(TlsError::Certificate {
            path: cert.to_owned(),
            reason: e.to_string(),
        }),
        Err(e) => Err(wrong_key(e.to_string())),
    }
}

/// The certificates of a file, the server's own first.
///
/// # Errors
/// [`TlsError::Certificate`].
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::Certificate {
        path: path.to_owned(),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain = chain.map_err(|e| wrong(said(&e, "no certificate")))?;
    if chain.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(chain)
}

/// A PEM error in our words where it has few.
fn said(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is {what} in it"),
        pem::Error::Io(e) => format!("cannot be read: {e}"),
        other => other.to_string(),
    }
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// TLS of all listeners.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    places: Arc<Semaphore>,
    shares: Shares,
}

impl Tls {
    /// With the certificate in these files.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(Arc::new(read(cert, key)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS12, &TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A client that comes back spares us a signature.
        config.ticketer = Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Self {
            acceptor: Arc::new(config).into(),
            shown,
            places: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            shares: Shares::new(MAX_HANDSHAKES_PER_ADDRESS),
        })
    }

    /// Shows another certificate from now on; connections that run keep theirs.
    ///
    /// # Errors
    /// [`TlsError`]; the one before stays.
    pub(crate) fn reload(&self, cert: &Path, key: &Path) -> Result<(), TlsError> {
        let next = Arc::new(read(cert, key)?);
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Shakes hands with who has just connected. `None` when that failed, took too long, or too many do it now; it is
    /// counted.
    pub(crate) async fn greet(&self, stream: TcpStream, peer: &Client) -> Option<TlsStream<TcpStream>> {
        let Some(_share) = self.shares.take(peer) else {
            refused::count(Reason::HandshakesAddress);
            return None;
        };
        let Ok(_place) = self.places.try_acquire() else {
            refused::count(Reason::Handshakes);
            return None;
        };
        match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(e)) => {
                refused::count(Reason::HandshakeFailed);
                tracing::debug!(error = %e, "a TLS handshake failed");
                None
            }
            Err(_) => {
                refused::count(Reason::HandshakeTimeout);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
