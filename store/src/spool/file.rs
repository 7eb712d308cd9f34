//! A segment as a file: a fixed part with lengths and SHA-256 of the rest, a JSON header, the segment's bytes.
//!
//! ```text
//! magic 8 | header length u32 | body length u64 | SHA-256 of header | SHA-256 of body | header | body
//! ```
//! Numbers are little-endian.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use caside_protocol::view::Source;
use caside_protocol::{ParticipantId, RecordingId};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{MAX_SEGMENT_BYTES, SegmentInfo, SpoolError, at};
use crate::names::Named;
use crate::recordings::{SegmentId, SegmentPlace, StoredSegment};

const MAGIC: [u8; 8] = *b"CASPOOL1";
const FIXED_BYTES: usize = 8 + 4 + 8 + 32 + 32;
/// Begins the names of directories that are on their way out.
const GONE: &str = ".gone-";
/// In a recording's directory: the database was told of its end.
const FINISHED: &str = "finished";

#[derive(Deserialize)]
struct Header {
    /// The object key, so that a file that was moved is not mistaken.
    key: String,
    start_ms: u64,
    end_ms: u64,
    metadata: Value,
}

/// The header of a segment.
pub(super) fn header(id: SegmentId, info: &SegmentInfo) -> Vec<u8> {
    let header = serde_json::json!({
        "key": id.object_key(),
        "start_ms": info.start_ms,
        "end_ms": info.end_ms,
        "metadata": info.metadata,
    });
    header.to_string().into_bytes()
}

/// What a segment takes on disk.
pub(super) fn size(header: &[u8], body: &[u8]) -> u64 {
    (FIXED_BYTES + header.len() + body.len()) as u64
}

/// The fixed part.
fn fixed(header: &[u8], body: &[u8], checksum: &[u8; 32]) -> Vec<u8> {
    let header_len = u32::try_from(header.len()).expect("the spool refuses headers above MAX_SEGMENT_BYTES");
    let mut fixed = Vec::with_capacity(FIXED_BYTES);
    fixed.extend_from_slice(&MAGIC);
    fixed.extend_from_slice(&header_len.to_le_bytes());
    fixed.extend_from_slice(&(body.len() as u64).to_le_bytes());
    fixed.extend_from_slice(&sha256(header));
    fixed.extend_from_slice(checksum);
    fixed
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(id.recording.to_string())
        .join(id.epoch.to_string())
        .join(id.participant.to_string())
        .join(id.source.as_str())
        .join(format!("{}.seg", id.n))
}

/// Writes a segment durably, whole under its name or nothing; the SHA-256 of its bytes.
pub(super) fn write(dir: &Path, id: SegmentId, header: &[u8], body: &[u8]) -> Result<[u8; 32], SpoolError> {
    let checksum = sha256(body);
    let path = path(dir, id);
    let fresh = path.with_extension("tmp");
    let result = write_synced(dir, &path, &fresh, &[&fixed(header, body, &checksum), header, body]);
    if result.is_err() {
        // Whichever of them is there; opening drops the former too.
        for left in [&fresh, &path] {
            if let Err(error) = fs::remove_file(left)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %left.display(), %error, "a segment that failed could not be removed");
            }
        }
    }
    result.map_err(at(&path))?;
    Ok(checksum)
}

fn write_synced(dir: &Path, path: &Path, fresh: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let new_dirs = !path.parent().is_some_and(Path::exists);
    let mut file = create(dir, fresh)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(fresh, path)?;
    // A name survives a loss of power only when its directory is synced, and so on upwards.
    let dirs = path.ancestors().skip(1).take_while(|parent| parent.starts_with(dir));
    for dir in dirs.take(if new_dirs { usize::MAX } else { 1 }) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Creates a file with its directories, which a removal at the same time may take away again.
fn create(dir: &Path, path: &Path) -> io::Result<File> {
    let mut tries = 0;
    loop {
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        match File::create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 10 => tries += 1,
            result => return result,
        }
    }
}

pub(super) fn read(dir: &Path, id: SegmentId) -> Result<(StoredSegment, Bytes), SpoolError> {
    let path = path(dir, id);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SpoolError::Missing(id)),
        result => result.map_err(at(&path))?,
    };
    match decode(id, file) {
        Ok(read) => Ok(read),
        Err(DecodeError::Damaged(reason)) => Err(SpoolError::Damaged {
            id,
            reason: reason.to_owned(),
        }),
        Err(DecodeError::Io(error)) => Err(at(&path)(error)),
    }
}

enum DecodeError {
    Damaged(&'static str),
    Io(io::Error),
}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early"),
            _ => Self::Io(error),
        }
    }
}

fn decode(id: SegmentId, mut file: File) -> Result<(StoredSegment, Bytes), DecodeError> {
    use DecodeError::Damaged;
    let magic: [u8; 8] = take(&mut file)?;
    if magic != MAGIC {
        return Err(Damaged("it is no segment"));
    }
    let header_len = u32::from_le_bytes(take(&mut file)?);
    let body_len = u64::from_le_bytes(take(&mut file)?);
    let header_hash: [u8; 32] = take(&mut file)?;
    let body_hash: [u8; 32] = take(&mut file)?;
    // Before memory is taken for them.
    let whole = (FIXED_BYTES as u64 + u64::from(header_len)).saturating_add(body_len);
    let largest = body_len.max(header_len.into());
    if largest > MAX_SEGMENT_BYTES || file.metadata()?.len() != whole {
        return Err(Damaged("its length is wrong"));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact(&mut header)?;
    let mut body = vec![0; usize::try_from(body_len).unwrap_or(0)];
    file.read_exact(&mut body)?;
    if sha256(&header) != header_hash || sha256(&body) != body_hash {
        return Err(Damaged("its checksum is wrong"));
    }
    let header: Header = serde_json::from_slice(&header).map_err(|_| Damaged("its header is wrong"))?;
    if header.key != id.object_key() {
        return Err(Damaged("it belongs elsewhere"));
    }
    let segment = StoredSegment {
        id,
        place: SegmentPlace::Spool,
        size_bytes: body_len,
        checksum: body_hash,
        start_ms: header.start_ms,
        end_ms: header.end_ms,
        metadata: header.metadata,
    };
    Ok((segment, body.into()))
}

fn take<const N: usize>(file: &mut File) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Removes a segment, and the directories that it leaves empty.
pub(super) fn remove(dir: &Path, id: SegmentId) -> Result<(), SpoolError> {
    let path = path(dir, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
        _ => {}
    }
    let own = dir.join(id.recording.to_string());
    let parents = path.ancestors().skip(1).take_while(|parent| *parent != dir);
    for parent in parents {
        if parent == own && holds_only_its_mark(parent) {
            fs::remove_file(parent.join(FINISHED)).map_err(at(parent))?;
        }
        // Not empty, or gone already: in both cases there is nothing more to do.
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

fn holds_only_its_mark(own: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(own) else {
        return false;
    };
    let is_mark = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == FINISHED);
    entries.next().is_some_and(is_mark) && entries.next().is_none()
}

/// Notes that the database was told of the end of a recording that is here.
pub(super) fn mark_finished(dir: &Path, recording: RecordingId) -> Result<(), SpoolError> {
    let own = dir.join(recording.to_string());
    let mark = own.join(FINISHED);
    let marked = || -> io::Result<()> {
        File::create(&mark)?.sync_all()?;
        File::open(&own)?.sync_all()
    };
    match marked() {
        // Nothing of it is here.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(at(&mark)),
    }
}

pub(super) fn is_finished(dir: &Path, recording: RecordingId) -> Result<bool, SpoolError> {
    let mark = dir.join(recording.to_string()).join(FINISHED);
    mark.try_exists().map_err(at(&mark))
}

/// Gives a recording's directory a name under which nobody looks for it, durably; `None` when there is none.
pub(super) fn set_aside(dir: &Path, recording: RecordingId) -> Result<Option<PathBuf>, SpoolError> {
    let own = dir.join(recording.to_string());
    let gone = dir.join(format!("{GONE}{}", Uuid::now_v7()));
    match fs::rename(&own, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(at(&own))?,
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
    Ok(Some(gone))
}

/// Removes what [`set_aside`] left when the process died.
pub(super) fn remove_gone(dir: &Path) -> Result<(), SpoolError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(GONE)) {
            fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// Reports every whole segment with the size of its file, removes what is not whole, leaves what is not ours.
pub(super) fn scan(
    dir: &Path,
    mut found: impl FnMut(StoredSegment, u64),
    dropped: &mut Vec<(PathBuf, String)>,
) -> Result<(), SpoolError> {
    for path in files_below(dir, 5)? {
        let Some((id, whole)) = parse(dir, &path) else { continue };
        let problem = if whole {
            match read(dir, id) {
                Ok((segment, _)) => {
                    found(segment, fs::metadata(&path).map_err(at(&path))?.len());
                    continue;
                }
                Err(SpoolError::Damaged { reason, .. }) => reason,
                Err(error) => return Err(error),
            }
        } else {
            "it was not finished".to_owned()
        };
        fs::remove_file(&path).map_err(at(&path))?;
        dropped.push((path, problem));
    }
    Ok(())
}

fn files_below(dir: &Path, depth: usize) -> Result<Vec<PathBuf>, SpoolError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() && depth > 1 {
            files.extend(files_below(&path, depth - 1)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The segment of this path, and whether it was finished.
fn parse(dir: &Path, path: &Path) -> Option<(SegmentId, bool)> {
    let mut parts = path.strip_prefix(dir).ok()?.iter().map(|part| part.to_str());
    let mut next = || parts.next().flatten();
    let recording: RecordingId = next()?.parse().ok()?;
    let epoch = next()?.parse().ok()?;
    let participant: ParticipantId = next()?.parse().ok()?;
    let source = Source::of("spool", "source", next()?).ok()?;
    let (n, extension) = next()?.split_once('.')?;
    let id = SegmentId {
        recording,
        epoch,
        participant,
        source,
        n: n.parse().ok()?,
    };
    // Only as we write it: `007.seg` is not ours.
    (path.with_extension("seg") == self::path(dir, id) && matches!(extension, "seg" | "tmp"))
        .then_some((id, extension == "seg"))
}
