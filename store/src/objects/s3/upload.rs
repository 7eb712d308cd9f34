//! Uploads of unknown length, in parts.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;

use super::{S3Objects, error};
use crate::objects::{ObjectError, io_error};

/// A part; S3 wants at least 5 MiB of all but the last.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at a time; one more is being read.
const MAX_CONCURRENT: usize = 3;
/// S3's own limit.
const MAX_PARTS: i32 = 10_000;

/// Uploads what `reader` gives; its size. What fits into one part is one request.
pub(super) async fn upload<R: AsyncRead + Send + Unpin>(
    s3: &S3Objects,
    key: &str,
    content_type: &str,
    mut reader: R,
) -> Result<u64, ObjectError> {
    let first = read_part(&mut reader).await?;
    if first.len() < PART_BYTES {
        let size_bytes = first.len() as u64;
        s3.put(key, content_type, first).await?;
        return Ok(size_bytes);
    }
    let upload = Upload::begin(s3, key, content_type).await?;
    let (size_bytes, parts) = send_parts(&upload, first, &mut reader).await?;
    upload.complete(parts).await?;
    Ok(size_bytes)
}

async fn send_parts<R: AsyncRead + Send + Unpin>(
    upload: &Upload,
    first: Bytes,
    reader: &mut R,
) -> Result<(u64, Vec<CompletedPart>), ObjectError> {
    let mut size_bytes = 0;
    let mut parts = Vec::new();
    // Dropped on an error, it ends the parts on their way.
    let mut on_their_way = JoinSet::new();
    let mut next = first;
    let mut number = 0;
    while !next.is_empty() {
        number += 1;
        if number > MAX_PARTS {
            return Err(ObjectError::TooLarge {
                max_bytes: MAX_PARTS as u64 * PART_BYTES as u64,
            });
        }
        size_bytes += next.len() as u64;
        let last = next.len() < PART_BYTES;
        on_their_way.spawn(upload.part(number, next));
        if on_their_way.len() >= MAX_CONCURRENT
            && let Some(part) = on_their_way.join_next().await
        {
            parts.push(joined(part)?);
        }
        next = if last { Bytes::new() } else { read_part(reader).await? };
    }
    while let Some(part) = on_their_way.join_next().await {
        parts.push(joined(part)?);
    }
    parts.sort_unstable_by_key(|part| part.part_number);
    Ok((size_bytes, parts))
}

fn joined(
    part: Result<Result<CompletedPart, ObjectError>, tokio::task::JoinError>,
) -> Result<CompletedPart, ObjectError> {
    part.map_err(|e| ObjectError::Unavailable { reason: e.to_string() })?
}

/// A whole part, or what is left; empty at the end.
async fn read_part<R: AsyncRead + Send + Unpin>(reader: &mut R) -> Result<Bytes, ObjectError> {
    let mut part = Vec::new();
    let read = reader.take(PART_BYTES as u64).read_to_end(&mut part).await;
    read.map_err(|e| io_error("read the source", e))?;
    Ok(part.into())
}

/// An upload that was begun; aborted unless it is completed, or its parts would be kept and paid for.
struct Upload {
    s3: S3Objects,
    key: String,
    id: String,
    completed: bool,
}

impl Upload {
    async fn begin(s3: &S3Objects, key: &str, content_type: &str) -> Result<Self, ObjectError> {
        let request = s3
            .client
            .create_multipart_upload()
            .bucket(&s3.bucket)
            .key(key)
            .content_type(content_type);
        let answer = request.send().await.map_err(|e| error(key, e))?;
        let id = answer.upload_id.ok_or_else(|| ObjectError::Unavailable {
            reason: "an upload without an id".to_owned(),
        })?;
        Ok(Self {
            s3: s3.clone(),
            key: key.to_owned(),
            id,
            completed: false,
        })
    }

    /// Sends one part.
    fn part(
        &self,
        number: i32,
        bytes: Bytes,
    ) -> impl Future<Output = Result<CompletedPart, ObjectError>> + Send + 'static {
        let key = self.key.clone();
        let request = self
            .s3
            .client
            .upload_part()
            .bucket(&self.s3.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(number)
            .body(bytes.into());
        async move {
            let answer = request.send().await.map_err(|e| error(&key, e))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .build())
        }
    }

    async fn complete(mut self, parts: Vec<CompletedPart>) -> Result<(), ObjectError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.s3
            .client
            .complete_multipart_upload()
            .bucket(&self.s3.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|e| error(&self.key, e))?;
        self.completed = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let abort = self
            .s3
            .client
            .abort_multipart_upload()
            .bucket(&self.s3.bucket)
            .key(&self.key)
            .upload_id(&self.id);
        let key = std::mem::take(&mut self.key);
        // Bounded by the client's own timeouts.
        runtime.spawn(async move {
            if let Err(e) = abort.send().await {
                let error = error(&key, e);
                tracing::warn!(object.key = key, %error, "an upload could not be aborted; its parts may be left");
            }
        });
    }
}
