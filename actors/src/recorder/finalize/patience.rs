//! What keeps a recording from being finished, and how long to wait for it to be gone.

use std::time::Duration;

use caside_protocol::RecordingId;
use caside_protocol::rest::RecordingState;
use caside_store::objects::ObjectError;
use caside_store::spool::SpoolError;
use caside_store::{Journal, JournalEntry, StoreError};

/// The longest pause between two tries while something is away.
const AWAY_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause while something refuses: until somebody changed its settings a try is of no use.
const REFUSED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Why files could not be made now. The segments are still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::recorder) enum FinalizeError {
    #[error("the object store failed")]
    Objects(#[from] ObjectError),
    #[error("the spool failed")]
    Spool(#[from] SpoolError),
    #[error("the database failed")]
    Database(#[from] StoreError),
    #[error("rows are not written yet: {0}")]
    Rows(String),
    #[error("the database does not take the row of {0}")]
    NotListed(String),
    #[error("nothing tells of which room and call it is")]
    Unknown,
}

impl FinalizeError {
    /// Whether somebody has to change something before it can go on.
    fn is_refused(&self) -> bool {
        match self {
            Self::Objects(error) => !error.is_unavailable(),
            Self::Spool(error) => !matches!(error, SpoolError::Busy),
            Self::Database(error) => !error.is_unavailable(),
            Self::Rows(_) => false,
            Self::NotListed(_) | Self::Unknown => true,
        }
    }

    /// What an operator can do about it; `None` when the database is what failed, and cannot take the sentence either.
    fn advice(&self) -> Option<String> {
        let what = match self {
            Self::Objects(ObjectError::Refused { reason }) => format!(
                "the object store refuses the files ({reason}): check the bucket, its permissions and the credentials"
            ),
            Self::Objects(ObjectError::DiskFull) => {
                "no space is left where finished recordings are kept: make room on that disk".to_owned()
            }
            Self::Objects(error) if error.is_unavailable() => "the object store does not answer".to_owned(),
            Self::Objects(error) => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                format!(
                    "the object store cannot keep the files ({error}{})",
                    cause.unwrap_or_default()
                )
            }
            Self::Spool(error) => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                format!("the spool cannot be read ({error}{})", cause.unwrap_or_default())
            }
            Self::Database(_) | Self::Rows(_) | Self::NotListed(_) | Self::Unknown => return None,
        };
        Some(format!(
            "{what}; what was recorded is kept, and finished by itself once that is put right"
        ))
    }
}

/// Pauses between tries, longer and longer.
pub(super) struct Patience {
    recording: RecordingId,
    pause: Duration,
    /// What the recording says of its waiting.
    told: Option<String>,
    silent: bool,
}

impl Patience {
    pub(super) fn new(recording: RecordingId) -> Self {
        Self {
            recording,
            pause: Duration::from_secs(1),
            told: None,
            silent: false,
        }
    }

    /// For what the recording does not wait for: nothing is told but in the log.
    pub(super) fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// Waits before the next try. The recording says why it is not finished when that is a refusal, or lasts.
    pub(super) async fn wait(&mut self, journal: &Journal, error: &FinalizeError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let refused = error.is_refused();
        let longest = if refused { REFUSED_PAUSE } else { AWAY_PAUSE };
        let pause = self.pause.min(longest);
        let (recording, retry_s) = (self.recording, pause.as_secs());
        if refused {
            tracing::error!(recording.id = %recording, %error, cause, retry_s, "a recording cannot be finished until somebody changes something");
        } else {
            tracing::warn!(recording.id = %recording, %error, cause, retry_s, "a recording cannot be finished now; tried again");
        }
        if !self.silent && (refused || pause == AWAY_PAUSE) {
            self.tell(journal, error);
        }
        tokio::time::sleep(pause).await;
        // Something that was away once in between does not make what refuses be asked oftener.
        self.pause = (self.pause * 2).min(REFUSED_PAUSE);
    }

    fn tell(&mut self, journal: &Journal, error: &FinalizeError) {
        let advice = error.advice();
        if advice.is_none() || advice == self.told {
            return;
        }
        let entry = JournalEntry::RecordingState {
            recording: self.recording,
            state: RecordingState::Finalizing,
            error: advice.clone(),
            duration_ms: None,
        };
        match journal.append(entry) {
            Ok(()) => self.told = advice,
            Err(error) => {
                tracing::warn!(recording.id = %self.recording, %error, "a recording does not say why it waits")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_told_apart_from_what_refuses() {
        let away = || ObjectError::Unavailable {
            reason: "503".to_owned(),
        };
        let refused = || ObjectError::Refused {
            reason: "NoSuchBucket: no such bucket".to_owned(),
        };
        assert!(!FinalizeError::from(away()).is_refused());
        assert!(!FinalizeError::from(ObjectError::DiskFull).is_refused());
        assert!(!FinalizeError::from(SpoolError::Busy).is_refused());
        assert!(!FinalizeError::Rows("3 entries wait".to_owned()).is_refused());
        assert!(FinalizeError::from(refused()).is_refused());
        assert!(FinalizeError::NotListed("a.webm".to_owned()).is_refused());
        let advice = FinalizeError::from(refused()).advice().unwrap();
        assert!(
            advice.contains("NoSuchBucket") && advice.contains("permissions"),
            "{advice}"
        );
        let timeout = StoreError::Timeout {
            after: Duration::from_secs(5),
        };
        assert!(FinalizeError::from(timeout).advice().is_none());
    }
}
