//! Credentials of the machine or container that we run on.
//!
//! Containers: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>. Instances (IMDSv2):
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>. The SDK caches what we answer
//! until shortly before it expires.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as CredentialsFuture;
use aws_credential_types::provider::{self, ProvideCredentials};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncReadExt;

use crate::objects::ObjectError;

/// The ECS agent, which relative URIs mean.
const ECS_ENDPOINT: &str = "http://169.254.170.2";
/// The instance metadata service.
const INSTANCE_ENDPOINT: &str = "http://169.254.169.254";
const ROLES_PATH: &str = "/latest/meta-data/iam/security-credentials/";
const SESSION_SECONDS: &str = "21600";
/// Longest exchange with one of them; both are on this machine.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A container's agent.
    Container {
        uri: String,
        token: Option<String>,
        /// Read anew every time, for it is rotated.
        token_file: Option<String>,
    },
    /// The instance metadata service at this address.
    Instance { endpoint: String },
}

/// Asks for the role's credentials.
#[derive(Debug)]
pub(super) struct RoleCredentials {
    source: Source,
    http: Connector,
}

/// What all of them answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl RoleCredentials {
    /// By the environment variables that AWS sets in containers.
    pub(super) fn from_environment() -> Result<Self, ObjectError> {
        Ok(Self::new(source(|name| std::env::var(name).ok())?))
    }

    fn new(source: Source) -> Self {
        let http = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build();
        Self { source, http }
    }

    async fn load(&self) -> provider::Result {
        match tokio::time::timeout(TIMEOUT, self.ask()).await {
            Ok(Ok(answer)) => credentials(answer),
            Ok(Err(reason)) => Err(CredentialsError::provider_error(reason)),
            Err(_) => Err(CredentialsError::provider_timed_out(TIMEOUT)),
        }
    }

    async fn ask(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            Source::Container { uri, token, token_file } => {
                let token = match token_file {
                    Some(file) => Some(
                        tokio::fs::read_to_string(file)
                            .await
                            .map_err(|e| format!("{file}: {e}"))?,
                    ),
                    None => token.clone(),
                };
                let header = token.as_deref().map(|token| ("authorization", token.trim()));
                self.exchange("GET", uri, header).await
            }
            Source::Instance { endpoint } => {
                let ttl = Some(("x-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS));
                let session = self
                    .exchange("PUT", &format!("{endpoint}/latest/api/token"), ttl)
                    .await?;
                let session = String::from_utf8(session).map_err(|e| e.to_string())?;
                let header = Some(("x-aws-ec2-metadata-token", session.trim()));
                let roles = self.exchange("GET", &format!("{endpoint}{ROLES_PATH}"), header).await?;
                let roles = String::from_utf8(roles).map_err(|e| e.to_string())?;
                let role = roles.lines().next().map(str::trim).filter(|role| !role.is_empty());
                let role = role.ok_or("the instance has no role")?;
                self.exchange("GET", &format!("{endpoint}{ROLES_PATH}{role}"), header)
                    .await
            }
        }
    }

    async fn exchange(&self, method: &str, uri: &str, header: Option<(&str, &str)>) -> Result<Vec<u8>, String> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method).map_err(|e| e.to_string())?;
        request.set_uri(uri).map_err(|e| format!("{uri}: {e}"))?;
        if let Some((name, value)) = header {
            let headers = request.headers_mut();
            headers
                .try_insert(name.to_owned(), value.to_owned())
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let response = self.http.call(request).await.map_err(|e| format!("{uri}: {e}"))?;
        if !response.status().is_success() {
            return Err(format!("{uri} answers {}", response.status().as_u16()));
        }
        let mut answer = Vec::new();
        let body = ByteStream::new(response.into_body()).into_async_read();
        let read = body.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await;
        read.map_err(|e| format!("{uri}: {e}"))?;
        Ok(answer)
    }
}

impl ProvideCredentials for RoleCredentials {
    fn provide_credentials<'a>(&'a self) -> CredentialsFuture<'a>
    where
        Self: 'a,
    {
        CredentialsFuture::new(self.load())
    }
}

/// Chooses by AWS's own variables, in their documented order.
fn source(variable: impl Fn(&str) -> Option<String>) -> Result<Source, ObjectError> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let uri = match set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) => Some(format!("{ECS_ENDPOINT}{path}")),
        None => set("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    };
    let Some(uri) = uri else {
        let endpoint = set("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE_ENDPOINT.to_owned());
        return Ok(Source::Instance {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
        });
    };
    if !may_be_asked(&uri) {
        return Err(ObjectError::Refused {
            reason: "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http on this machine".to_owned(),
        });
    }
    Ok(Source::Container {
        uri,
        token: set("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        token_file: set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    })
}

/// Without TLS only loopback and the agents' link-local addresses are asked: the answer is a secret.
fn may_be_asked(uri: &str) -> bool {
    if uri.starts_with("https://") {
        return true;
    }
    let Some(rest) = uri.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let near = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"];
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || near.contains(&host)
}

fn credentials(answer: Vec<u8>) -> provider::Result {
    let invalid = |reason: String| CredentialsError::invalid_configuration(reason);
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|_| invalid("the role's credentials are not readable".to_owned()))?;
    let expires = match answer.expiration {
        Some(text) => {
            let at = OffsetDateTime::parse(&text, &Rfc3339);
            Some(SystemTime::from(
                at.map_err(|e| invalid(format!("expiration {text}: {e}")))?,
            ))
        }
        None => None,
    };
    Ok(Credentials::new(
        answer.access_key_id,
        answer.secret_access_key,
        answer.token,
        expires,
        "role",
    ))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &str = r#"{"Code":"Success","AccessKeyId":"AKIA","SecretAccessKey":"s3cr3t","Token":"t0k3n",
        "Expiration":"2030-01-02T03:04:05Z"}"#;

    /// Serves `answers` by method, path and a header that must be there; anything else is 401.
    async fn serve(answers: &'static [(&'static str, &'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut socket = BufReader::new(socket);
                    loop {
                        let mut request = String::new();
                        while !request.ends_with("\r\n\r\n") {
                            if socket.read_line(&mut request).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let request = request.to_lowercase();
                        let answer = answers
                            .iter()
                            .find(|(line, header, _)| request.starts_with(line) && request.contains(header));
                        let (status, body) = answer.map_or(("401 No", ""), |(_, _, body)| ("200 OK", *body));
                        let length = body.len();
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        endpoint
    }

    fn check(credentials: &Credentials) {
        assert_eq!(credentials.access_key_id(), "AKIA");
        assert_eq!(credentials.secret_access_key(), "s3cr3t");
        assert_eq!(credentials.session_token(), Some("t0k3n"));
        let expiry = OffsetDateTime::from(credentials.expiry().unwrap());
        assert_eq!(expiry.unix_timestamp(), 1_893_553_445);
    }

    #[tokio::test]
    async fn an_instance_is_asked_with_a_session_token() {
        let endpoint = serve(&[
            ("put /latest/api/token ", "ttl-seconds: 21600", "session"),
            (
                "get /latest/meta-data/iam/security-credentials/ ",
                "metadata-token: session",
                "recorder\n",
            ),
            (
                "get /latest/meta-data/iam/security-credentials/recorder ",
                "metadata-token: session",
                ANSWER,
            ),
        ])
        .await;
        let role = RoleCredentials::new(Source::Instance { endpoint });
        check(&role.provide_credentials().await.unwrap());
    }

    #[tokio::test]
    async fn a_container_is_asked_with_its_authorization() {
        let endpoint = serve(&[("get /role ", "authorization: bearer x", ANSWER)]).await;
        let file = std::env::temp_dir().join(format!("caside-role-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "Bearer x\n").unwrap();
        let source = |token: Option<&str>, token_file: Option<&std::path::Path>| Source::Container {
            uri: format!("{endpoint}/role"),
            token: token.map(str::to_owned),
            token_file: token_file.map(|file| file.display().to_string()),
        };
        let ask = async |source| RoleCredentials::new(source).load().await;
        check(&ask(source(Some("Bearer x"), None)).await.unwrap());
        check(&ask(source(None, Some(&file))).await.unwrap());
        assert!(ask(source(Some("Bearer y"), None)).await.is_err());
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn the_environment_says_where_to_ask() {
        let choose = |set: &[(&str, &str)]| {
            source(|name| {
                set.iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        let instance = |endpoint: &str| Source::Instance {
            endpoint: endpoint.to_owned(),
        };
        assert_eq!(choose(&[]).unwrap(), instance(INSTANCE_ENDPOINT));
        let other = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]/")];
        assert_eq!(choose(&other).unwrap(), instance("http://[fd00:ec2::254]"));
        let ecs = choose(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")]).unwrap();
        assert!(matches!(ecs, Source::Container { uri, .. } if uri == "http://169.254.170.2/v2/x"));
        let full = |uri| choose(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)]);
        for good in [
            "http://169.254.170.23/v1",
            "http://127.0.0.1:80/x",
            "http://[::1]/x",
            "https://example.org/x",
        ] {
            assert!(full(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.org/x",
            "http://127.0.0.1.example.org/",
            "ftp://127.0.0.1/",
            "127.0.0.1",
        ] {
            assert!(matches!(full(bad), Err(ObjectError::Refused { .. })), "{bad}");
        }
    }
}
