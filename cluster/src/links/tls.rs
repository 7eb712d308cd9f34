//! Certificates of links: both ends show one, both of the same authority. TLS 1.3 on aws-lc.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::settings::{LinkTls, LinksError};

/// Both sides of TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: &LinkTls) -> Result<Self, LinksError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, error))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&files.ca)? {
            roots.add(root).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        Ok(Self {
            acceptor: Arc::new(server(&provider, &roots, chain.clone(), key.clone_key())?).into(),
            connector: Arc::new(client(&provider, &roots, chain, key)?).into(),
        })
    }

    /// Greets one who dialed us.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await.map(TlsStream::Server)
    }

    /// Greets one whom we dialed as `host`.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        self.connector.connect(name, stream).await.map(TlsStream::Client)
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, LinksError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(unusable)?;
    ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unusable)
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, LinksError> {
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain, key)
        .map_err(unusable)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinksError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> LinksError {
    LinksError::Certificate {
        path: path.to_owned(),
        source: Box::new(error),
    }
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> LinksError {
    LinksError::Tls(Box::new(error))
}
