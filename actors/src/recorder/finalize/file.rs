//! One file of one part's segments.

use std::io;

use bytes::Bytes;
use caside_media::parameters::CodecKind;
use caside_media::record::finish::{FinishError, Finisher, Step};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::meta::{FileMeta, SegmentMeta};
use caside_protocol::RecordingId;
use caside_protocol::rest::FileKind;
use caside_store::objects::ObjectError;
use caside_store::recordings::{SegmentId, StoredFile};
use caside_store::spool::{Extent, SpoolError};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::FinalizeError;
use crate::recorder::part::Part;
use crate::recorder::recordings::Keeping;

/// Segments of a file on their way to the object store: at most 9 MiB each, in most cases well below one.
const CHUNKS: usize = 4;
/// Largest segment fetched from the object store.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

impl Keeping {
    /// Makes one file; `None` when there is nothing that makes one. Sentences on what is not in it go to `missing`.
    pub(super) async fn finish_part(
        &self,
        recording: RecordingId,
        part: Part,
        segments: &[Extent],
        missing: &mut Vec<String>,
    ) -> Result<Option<StoredFile>, FinalizeError> {
        let mut metas: Vec<SegmentMeta> = Vec::with_capacity(segments.len());
        let mut ids = Vec::with_capacity(segments.len());
        for segment in segments {
            let Some(bytes) = self.segment_bytes(segment.id).await? else {
                missing.push(format!(
                    "{}–{} ms of {} were lost",
                    segment.start_ms, segment.end_ms, part.participant
                ));
                continue;
            };
            match inspect_segment(&bytes) {
                Ok(meta) => {
                    metas.push(meta);
                    ids.push(segment.id);
                }
                Err(error) => {
                    tracing::error!(segment = segment.id.object_key(), %error, "a segment cannot be read and is left out");
                    missing.push(format!(
                        "{}–{} ms of {} were damaged",
                        segment.start_ms, segment.end_ms, part.participant
                    ));
                }
            }
        }
        let mut finisher = match Finisher::new(metas, &self.writing_app) {
            Ok(finisher) => finisher,
            Err(FinishError::NoSegments) => return Ok(None),
            Err(error) => {
                tracing::error!(recording.id = %recording, %error, "segments do not make a file");
                missing.push(format!("{}: {error}", part.participant));
                return Ok(None);
            }
        };
        let meta = finisher.meta().clone();
        let name = part.file_name(meta.video.is_some(), meta.extension);
        let storage_key = format!("recordings/{recording}/{name}");
        let (chunks, mut waiting) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
        let produce = async {
            loop {
                match finisher.poll() {
                    Step::Chunk(chunk) => {
                        if chunks.send(Ok(chunk)).await.is_err() {
                            return Ok(());
                        }
                    }
                    Step::Need { index } => match ids.get(index) {
                        Some(id) => match self.segment_bytes(*id).await {
                            Ok(bytes) => finisher.supply(bytes),
                            Err(error) => {
                                // The object store must not take what is there for the whole file.
                                if chunks
                                    .send(Err(io::Error::other("a segment cannot be read now")))
                                    .await
                                    .is_err()
                                {
                                    tracing::debug!("the upload ended before");
                                }
                                return Err(error);
                            }
                        },
                        None => finisher.supply(None),
                    },
                    Step::Done => {
                        drop(chunks);
                        return Ok(());
                    }
                }
            }
        };
        let body = StreamReader::new(futures_util::stream::poll_fn(move |context| waiting.poll_recv(context)));
        let put = Box::pin(self.objects.put_stream(&storage_key, meta.content_type, body));
        let (produced, put) = tokio::join!(produce, put);
        produced?;
        let size_bytes = put?;
        let damaged = finisher.damaged();
        if !damaged.is_empty() {
            missing.push(format!(
                "{} segments of {} were damaged",
                damaged.len(),
                part.participant
            ));
        }
        Ok(Some(stored_file(recording, part, name, storage_key, size_bytes, &meta)))
    }

    /// A segment's bytes from here, else from the object store; `None` when neither has them whole.
    async fn segment_bytes(&self, id: SegmentId) -> Result<Option<Bytes>, FinalizeError> {
        match self.spool.read(id).await {
            Ok((_, bytes)) => return Ok(Some(bytes)),
            Err(SpoolError::Missing(_) | SpoolError::Damaged { .. }) => {}
            // Not lost, only not to be had now.
            Err(error) => return Err(error.into()),
        }
        let object = match self.objects.get(&id.object_key(), None).await {
            Ok(object) => object,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        match object.reader.take(MAX_SEGMENT_BYTES).read_to_end(&mut bytes).await {
            Ok(_) => Ok(Some(bytes.into())),
            Err(source) => Err(ObjectError::Io {
                what: "a segment was not read whole".to_owned(),
                source,
            }
            .into()),
        }
    }
}

fn stored_file(
    recording: RecordingId,
    part: Part,
    name: String,
    storage_key: String,
    size_bytes: u64,
    meta: &FileMeta,
) -> StoredFile {
    let tracks = [&meta.video, &meta.audio];
    StoredFile {
        recording,
        name,
        kind: FileKind::Participant,
        participant: Some(part.participant),
        source: Some(part.source_of_file(meta.video.is_some())),
        content_type: meta.content_type.to_owned(),
        codecs: tracks
            .into_iter()
            .flatten()
            .map(|t| codec_name(t.codec).to_owned())
            .collect(),
        size_bytes,
        encryption: tracks.into_iter().flatten().find_map(|t| t.encryption.clone()),
        duration_ms: meta.duration_ms,
        offset_ms: meta.offset_ms,
        storage_key,
    }
}

/// As in `codecs=` of a media type (RFC 6381).
fn codec_name(codec: CodecKind) -> &'static str {
    match codec {
        CodecKind::Opus => "opus",
        CodecKind::Vp8 => "vp8",
        CodecKind::Vp9 => "vp9",
        CodecKind::H264 => "avc1",
        CodecKind::Av1 => "av01",
    }
}
