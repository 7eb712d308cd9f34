//! The ways to a collector: gRPC by tonic, HTTP by hyper, with TLS by rustls on aws-lc and the system's certificates.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    LogExporter, Protocol as Encoding, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::metrics::Post;
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
        Protocol::Grpc => through_grpc(builder.with_tonic(), target)?.build(),
        Protocol::Http => through_http(builder.with_http(), target)?.build(),
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
        Protocol::Grpc => through_grpc(builder.with_tonic(), target)?.build(),
        Protocol::Http => through_http(builder.with_http(), target)?.build(),
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

/// What we say we are.
const AGENT: &str = concat!("caside/", env!("CARGO_PKG_VERSION"));

/// Sends metrics.
///
/// # Errors
/// What is wrong with the target, for people.
pub(super) fn metrics(target: &Target) -> Result<Post, String> {
    match target.protocol {
        Protocol::Grpc => by_grpc(target),
        Protocol::Http => by_http(target),
    }
}

fn by_grpc(target: &Target) -> Result<Post, String> {
    let endpoint = Endpoint::from_shared(target.endpoint.clone()).and_then(|endpoint| endpoint.user_agent(AGENT));
    let endpoint = endpoint.map(|endpoint| endpoint.timeout(target.timeout).connect_timeout(target.timeout));
    let endpoint = endpoint.and_then(|endpoint| match tls(target) {
        Some(tls) => endpoint.tls_config(tls),
        None => Ok(endpoint),
    });
    let channel = endpoint.map_err(|error| error.to_string())?.connect_lazy();
    let (client, metadata) = (
        MetricsServiceClient::new(channel),
        MetadataMap::from_headers(headers(target)?),
    );
    Ok(Box::new(move |message| {
        let mut client = client.clone();
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = metadata.clone();
        Box::pin(async move {
            let answer = client.export(request).await.map_err(|status| status.to_string())?;
            Ok(rejected(&answer.into_inner()))
        })
    }))
}

fn by_http(target: &Target) -> Result<Post, String> {
    let (client, endpoint) = (client(target)?, target.endpoint.clone());
    let mut headers = headers(target)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    // What is wrong with the URL is said now.
    Request::post(&endpoint).body(()).map_err(|error| error.to_string())?;
    Ok(Box::new(move |message: ExportMetricsServiceRequest| {
        let (client, endpoint, headers) = (client.clone(), endpoint.clone(), headers.clone());
        Box::pin(async move {
            let request = Request::post(endpoint).body(message.encode_to_vec().into());
            let mut request = request.map_err(|error| error.to_string())?;
            *request.headers_mut() = headers;
            let answer = client.send_bytes(request).await.map_err(|error| error.to_string())?;
            if !answer.status().is_success() {
                return Err(format!("status {}", answer.status()));
            }
            // Some collectors answer in their own words, or with nothing.
            let answer = ExportMetricsServiceResponse::decode(answer.into_body()).unwrap_or_default();
            Ok(rejected(&answer))
        })
    }))
}

/// Points that were not taken of a request that was.
fn rejected(answer: &ExportMetricsServiceResponse) -> u64 {
    let partial = answer.partial_success.as_ref();
    partial.map_or(0, |partial| u64::try_from(partial.rejected_data_points).unwrap_or(0))
}

fn through_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, target: &Target) -> Result<B, String> {
    let builder = builder
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_metadata(MetadataMap::from_headers(headers(target)?));
    Ok(match tls(target) {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
    })
}

fn through_http<B: WithExportConfig + WithHttpConfig>(builder: B, target: &Target) -> Result<B, String> {
    Ok(builder
        .with_shared_http_client(client(target)?)
        .with_protocol(Encoding::HttpBinary)
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_headers(pairs(target)))
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
        let mut value =
            HeaderValue::try_from(value.as_str()).map_err(|_| format!("not a value of a header: {name}"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
