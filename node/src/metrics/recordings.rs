//! Recordings, their spool and their copies.

use caside_actors::recorder::RecordingsReport;

use super::{Family, word};

/// All families of recordings.
pub(super) fn families(report: &RecordingsReport) -> Vec<Family> {
    let shipping = report.shipping.unwrap_or_default();
    vec![
        Family::gauge("caside_recordings", "recordings that run").of(report.running),
        Family::gauge("caside_recordings_finishing", "recordings whose files are being made").of(report.finishing),
        Family::counter(
            "caside_recordings_finished_total",
            "recordings that are over, by how they went",
        )
        .with([("state", word("ready"))], report.ready)
        .with([("state", word("failed"))], report.failed),
        Family::counter(
            "caside_recording_packets_dropped_total",
            "packets that a recorder was too slow for",
        )
        .of(report.dropped_packets),
        Family::gauge("caside_spool_bytes", "bytes of recordings that are not finished").of(report.spool_bytes),
        Family::gauge("caside_spool_max_bytes", "most bytes that the spool takes").of(report.spool_max_bytes),
        Family::gauge("caside_uploads_waiting", "segments that wait for the object store").of(shipping.waiting),
        Family::gauge("caside_upload_lag_seconds", "how long the first of them has waited").of(shipping.oldest),
        Family::counter("caside_uploads_total", "segments that the object store took").of(shipping.shipped),
        Family::counter("caside_upload_bytes_total", "their bytes").of(shipping.shipped_bytes),
        Family::counter("caside_upload_failures_total", "tries that failed; each is tried again").of(shipping.failures),
        Family::counter(
            "caside_uploads_left_out_total",
            "segments that stay in the spool alone, for too many waited",
        )
        .of(report.left_out),
    ]
}
