//! What commands print. Standard output is for answers and announcements; the log has standard error.

use std::io::{self, Write};

/// Writes one line to standard output. Whoever closed it does not want to read it.
pub(crate) fn line(text: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    if let Err(e) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::debug!(error = %e, "standard output is closed");
    }
}

/// Writes one line to standard error, where there is no log yet.
pub(crate) fn complaint(text: impl std::fmt::Display) {
    let mut err = io::stderr().lock();
    // With standard error closed there is nobody left to tell.
    drop(writeln!(err, "caside: {text}"));
}
