//! The ways to a collector: gRPC by tonic, HTTP by hyper, with TLS by rustls on aws-lc and the system's certificates.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{LogExporter, Protocol as Encoding, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tonic::metadata::MetadataMap;
use tonic::transport::ClientTlsConfig;

use super::records::Record;
use super::settings::{Protocol, Target};

/// A batch on its way.
pub(super) type Exporting = Pin<Box<dyn Future<Output = OTelSdkResult> + Send>>;

/// Sends spans.
///
/// # Errors
/// What is wrong with the target, for people.
pub(super) fn spans(
    target: &Target,
    resource: &Resource,
) -> Result<impl Fn(Vec<SpanData>) -> Exporting + Send + Sync + use<>, String> {
    let builder = SpanExporter::builder();
    let exporter = match target.protocol {
        Protocol::Grpc => {
            let builder = builder
                .with_tonic()
                .with_endpoint(&target.endpoint)
                .with_timeout(target.timeout)
                .with_metadata(MetadataMap::from_headers(headers(target)?));
            match tls(target) {
                Some(tls) => builder.with_tls_config(tls).build(),
                None => builder.build(),
            }
        }
        Protocol::Http => builder
            .with_http()
            .with_shared_http_client(client(target)?)
            .with_protocol(Encoding::HttpBinary)
            .with_endpoint(&target.endpoint)
            .with_timeout(target.timeout)
            .with_headers(pairs(target))
            .build(),
    };
    let mut exporter = exporter.map_err(|error| error.to_string())?;
    exporter.set_resource(resource);
    let exporter = Arc::new(exporter);
    Ok(move |batch| -> Exporting {
        let exporter = exporter.clone();
        Box::pin(async move { exporter.export(batch).await })
    })
}

/// Sends log records.
///
/// # Errors
/// What is wrong with the target, for people.
pub(super) fn records(
    target: &Target,
    resource: &Resource,
) -> Result<impl Fn(Vec<Record>) -> Exporting + Send + Sync + use<>, String> {
    let builder = LogExporter::builder();
    let exporter = match target.protocol {
        Protocol::Grpc => {
            let builder = builder
                .with_tonic()
                .with_endpoint(&target.endpoint)
                .with_timeout(target.timeout)
                .with_metadata(MetadataMap::from_headers(headers(target)?));
            match tls(target) {
                Some(tls) => builder.with_tls_config(tls).build(),
                None => builder.build(),
            }
        }
        Protocol::Http => builder
            .with_http()
            .with_shared_http_client(client(target)?)
            .with_protocol(Encoding::HttpBinary)
            .with_endpoint(&target.endpoint)
            .with_timeout(target.timeout)
            .with_headers(pairs(target))
            .build(),
    };
    let mut exporter = exporter.map_err(|error| error.to_string())?;
    exporter.set_resource(resource);
    let exporter = Arc::new(exporter);
    Ok(move |batch: Vec<Record>| -> Exporting {
        let exporter = exporter.clone();
        Box::pin(async move {
            let borrowed: Vec<_> = batch.iter().map(|record| (&record.0, &record.1)).collect();
            exporter.export(LogBatch::new(&borrowed)).await
        })
    })
}

fn is_secure(target: &Target) -> bool {
    target.endpoint.starts_with("https:")
}

fn tls(target: &Target) -> Option<ClientTlsConfig> {
    is_secure(target).then(|| ClientTlsConfig::new().with_native_roots())
}

/// An HTTP client for the target.
fn client(target: &Target) -> Result<Arc<dyn HttpClient>, String> {
    let mut connector = HttpConnector::new();
    if !is_secure(target) {
        return Ok(Arc::new(HyperClient::new(connector, target.timeout, None)));
    }
    connector.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| format!("the system's certificates cannot be read: {error}"))?
        .https_only()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Arc::new(HyperClient::new(connector, target.timeout, None)))
}

fn pairs(target: &Target) -> HashMap<String, String> {
    target.headers.iter().cloned().collect()
}

fn headers(target: &Target) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("not the name of a header: {name}"))?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| format!("not a value of a header: {name}"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
