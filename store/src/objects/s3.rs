//! Objects in an S3 bucket.
//!
//! By `aws-sdk-s3` without `aws-config`, whose default HTTP and TLS stack would be a second one in the binary.

mod role;
mod upload;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::{Client, Config};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::io::AsyncRead;

use self::role::RoleCredentials;
use super::{Object, ObjectError, ObjectInfo};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest silence of the server within an answer's head.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest try of one request: a part of 8 MiB at about 1 Mbit/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest request with all its tries.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(180);
const MAX_ATTEMPTS: u32 = 4;
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// What is repeated of a message of the server's.
const MAX_MESSAGE_CHARS: usize = 200;

/// How to reach an S3 bucket.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket, which must exist.
    pub bucket: String,
    /// For MinIO and others; AWS when `None`. Requests are path-style then.
    pub endpoint: Option<String>,
    /// As `eu-central-1`.
    pub region: String,
    /// Who asks.
    pub credentials: S3Credentials,
}

/// Who asks.
#[derive(Clone)]
pub enum S3Credentials {
    /// A key pair.
    Static {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<String>,
    },
    /// The role of the container (ECS, EKS Pod Identity) when the environment has
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`, else of the EC2 instance (IMDSv2).
    Role,
}

impl fmt::Debug for S3Credentials {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static { .. } => "Static(…)",
            Self::Role => "Role",
        })
    }
}

/// An S3 bucket.
#[derive(Debug, Clone)]
pub struct S3Objects {
    client: Client,
    bucket: String,
}

impl S3Objects {
    pub(super) fn new(settings: S3Settings) -> Result<Self, ObjectError> {
        let credentials = match settings.credentials {
            S3Credentials::Static {
                access_key_id,
                secret_access_key,
                session_token,
            } => SharedCredentialsProvider::new(Credentials::new(
                access_key_id,
                secret_access_key,
                session_token,
                None,
                "configuration",
            )),
            S3Credentials::Role => SharedCredentialsProvider::new(RoleCredentials::from_environment()?),
        };
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(MAX_ATTEMPTS)
            .with_initial_backoff(MIN_BACKOFF)
            .with_max_backoff(MAX_BACKOFF);
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region))
            .credentials_provider(credentials)
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(retries)
            // The trailing checksums that AWS wants by default are not understood by all who speak S3.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = settings.endpoint {
            if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
                return Err(ObjectError::Refused {
                    reason: "the endpoint must begin with http:// or https://".to_owned(),
                });
            }
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            bucket: settings.bucket,
        })
    }

    pub(super) async fn ping(&self) -> Result<(), ObjectError> {
        let request = self.client.head_bucket().bucket(&self.bucket);
        request.send().await.map_err(|e| match error(&self.bucket, e) {
            ObjectError::NotFound { key } => ObjectError::Refused {
                reason: format!("there is no bucket {key}"),
            },
            other => other,
        })?;
        Ok(())
    }

    pub(super) async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type)
            .body(bytes.into())
            .send()
            .await
            .map_err(|e| error(key, e))?;
        Ok(())
    }

    pub(super) async fn put_stream<R: AsyncRead + Send + Unpin>(
        &self,
        key: &str,
        content_type: &str,
        reader: R,
    ) -> Result<u64, ObjectError> {
        upload::upload(self, key, content_type, reader).await
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object, ObjectError> {
        let header = range
            .as_ref()
            .map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let request = self.client.get_object().bucket(&self.bucket).key(key).set_range(header);
        let answer = match request.send().await {
            Ok(answer) => answer,
            // RFC 9110 §15.5.17
            Err(e) if status(&e) == Some(416) => {
                let size_bytes = self.head(key).await?.size_bytes;
                return Err(ObjectError::Range { size_bytes });
            }
            Err(e) => return Err(error(key, e)),
        };
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let total = answer.content_range().and_then(total_of);
        let (Some(length), Some(size_bytes)) = (length, total.or(length)) else {
            return Err(ObjectError::Unavailable {
                reason: "an answer without a length".to_owned(),
            });
        };
        let start = range.map_or(0, |range| range.start);
        Ok(Object {
            info: ObjectInfo {
                key: key.to_owned(),
                size_bytes,
                modified_at: moment(answer.last_modified()),
            },
            range: start..start.saturating_add(length),
            reader: Box::pin(answer.body.into_async_read()),
        })
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let answer = request.send().await.map_err(|e| error(key, e))?;
        Ok(ObjectInfo {
            key: key.to_owned(),
            size_bytes: answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            modified_at: moment(answer.last_modified()),
        })
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await.map_err(|e| error(key, e)) {
            Ok(_) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_start_after(after.map(str::to_owned))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|e| error(prefix, e))?;
        let objects = answer.contents.unwrap_or_default().into_iter();
        Ok(objects
            .filter_map(|object| {
                Some(ObjectInfo {
                    size_bytes: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    modified_at: moment(object.last_modified()),
                    key: object.key?,
                })
            })
            .collect())
    }

    pub(super) async fn presign_get(&self, key: &str, valid: Duration) -> Result<String, ObjectError> {
        let presigning =
            PresigningConfig::expires_in(valid).map_err(|e| ObjectError::Refused { reason: e.to_string() })?;
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let url = request.presigned(presigning).await.map_err(|e| error(key, e))?;
        Ok(url.uri().to_owned())
    }
}

/// The object's size of `bytes 0-9/100`.
fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

fn moment(at: Option<&DateTime>) -> OffsetDateTime {
    at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.secs()).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// What an error means to whoever asked for `key`.
fn error<E>(key: &str, error: SdkError<E, HttpResponse>) -> ObjectError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = status(&error);
    let code = error.code().map(str::to_owned);
    let message = error.message().map(str::to_owned);
    let reason = DisplayErrorContext(&error).to_string();
    let service = matches!(error, SdkError::ServiceError(_));
    match status {
        Some(404) if service && code.as_deref() != Some("NoSuchBucket") => {
            ObjectError::NotFound { key: key.to_owned() }
        }
        Some(400..=499) if service && !matches!(status, Some(408 | 429)) => ObjectError::Refused {
            reason: refusal(code.as_deref(), message.as_deref()).unwrap_or(reason),
        },
        _ if matches!(error, SdkError::ConstructionFailure(_)) => ObjectError::Refused { reason },
        _ => ObjectError::Unavailable { reason },
    }
}

/// S3's code and message, as in `AccessDenied: Access Denied`; `None` when the server gave no code.
fn refusal(code: Option<&str>, message: Option<&str>) -> Option<String> {
    let code = code?;
    let message: String = message.unwrap_or_default().chars().take(MAX_MESSAGE_CHARS).collect();
    Some(match message.is_empty() {
        true => code.to_owned(),
        false => format!("{code}: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let told = refusal(Some("AccessDenied"), Some("Access Denied"));
        assert_eq!(told.as_deref(), Some("AccessDenied: Access Denied"));
        assert_eq!(refusal(Some("NoSuchBucket"), None).as_deref(), Some("NoSuchBucket"));
        assert_eq!(refusal(None, Some("what")), None);
        let long = refusal(Some("X"), Some(&"ä".repeat(1_000))).unwrap();
        assert_eq!(long.chars().count(), 3 + MAX_MESSAGE_CHARS);
    }

    #[test]
    fn settings_do_not_print_secrets() {
        let credentials = S3Credentials::Static {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "hunter2".to_owned(),
            session_token: Some("hunter3".to_owned()),
        };
        assert_eq!(format!("{credentials:?}"), "Static(…)");
    }

    #[test]
    fn the_total_of_a_content_range() {
        assert_eq!(total_of("bytes 0-9/100"), Some(100));
        assert_eq!(total_of("bytes 0-9/*"), None);
        assert_eq!(total_of("nonsense"), None);
    }
}
