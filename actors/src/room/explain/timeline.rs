//! What happened in a call, bounded: the beginning stays and the end, of the middle the oldest goes.

use caside_protocol::explain::{MAX_DETAIL, MAX_ENTRIES, MAX_ENTRIES_EACH, Stage, TimelineEntry};
use caside_protocol::{ParticipantId, Timestamp};

/// What is never folded away of a participant: how they came in.
const FIRST_EACH: usize = 24;
/// And of a call.
const FIRST: usize = 120;

/// One entry, small: most calls go well and nobody reads of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    at: Timestamp,
    participant: Option<ParticipantId>,
    stage: Stage,
    what: &'static str,
    detail: Option<Box<str>>,
    left_out: u32,
}

/// What happened in a call.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    entries: Vec<Entry>,
}

impl Timeline {
    /// Adds an entry; at a bound one of the middle goes.
    pub(super) fn push(
        &mut self,
        at: Timestamp,
        participant: Option<ParticipantId>,
        stage: Stage,
        what: &'static str,
        detail: Option<String>,
    ) {
        if let Some(whose) = participant {
            let own = self.entries.iter().filter(|entry| entry.participant == Some(whose));
            if own.count() >= MAX_ENTRIES_EACH {
                self.fold(FIRST_EACH, |entry| entry.participant == Some(whose));
            }
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.fold(FIRST, |_| true);
        }
        self.entries.push(Entry {
            at,
            participant,
            stage,
            what,
            detail: detail.map(|detail| shortened(&detail).into()),
            left_out: 0,
        });
    }

    /// Takes the entry at `keep` out of those that are meant; the next of them says that it is missing.
    fn fold(&mut self, keep: usize, meant: impl Fn(&Entry) -> bool) {
        let mut places = (0..self.entries.len()).filter(|at| self.entries.get(*at).is_some_and(&meant));
        let (Some(goes), Some(next)) = (places.nth(keep), places.next()) else {
            return;
        };
        let missing = self.entries.get(goes).map_or(0, |entry| entry.left_out + 1);
        if let Some(next) = self.entries.get_mut(next) {
            next.left_out += missing;
        }
        self.entries.remove(goes);
    }

    /// As it is told.
    pub(super) fn told(&self) -> Vec<TimelineEntry> {
        let told = self.entries.iter().map(|entry| TimelineEntry {
            at: entry.at,
            participant_id: entry.participant,
            stage: entry.stage,
            what: entry.what.to_owned(),
            detail: entry.detail.as_deref().map(str::to_owned),
            left_out: entry.left_out,
        });
        told.collect()
    }
}

/// At most [`MAX_DETAIL`] characters, without what would break a line.
pub(super) fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn who(n: u128) -> Option<ParticipantId> {
        Some(ParticipantId(Uuid::from_u128(n)))
    }

    fn note(timeline: &mut Timeline, who: Option<ParticipantId>, n: usize) {
        timeline.push(Timestamp::UNIX_EPOCH, who, Stage::Media, "muted", Some(n.to_string()));
    }

    fn numbers(entries: &[TimelineEntry]) -> Vec<usize> {
        entries
            .iter()
            .filter_map(|e| e.detail.as_deref()?.parse().ok())
            .collect()
    }

    #[test]
    fn a_participant_who_toggles_for_hours_leaves_the_others_their_place() {
        let mut timeline = Timeline::default();
        note(&mut timeline, who(2), 7);
        for n in 0..10_000 {
            note(&mut timeline, who(1), n);
        }
        let told = timeline.told();
        assert_eq!(told.len(), MAX_ENTRIES_EACH + 1);
        assert_eq!(told[0].participant_id, who(2));
        let own = numbers(&told[1..]);
        assert_eq!(own[..FIRST_EACH], (0..FIRST_EACH).collect::<Vec<_>>()[..]);
        assert_eq!(own[own.len() - 1], 9_999);
        let left_out: u32 = told.iter().map(|entry| entry.left_out).sum();
        assert_eq!(left_out as usize + own.len(), 10_000, "what is missing is counted");
        assert_eq!(told.iter().filter(|entry| entry.left_out > 0).count(), 1);
    }

    #[test]
    fn a_call_of_many_is_bounded_too() {
        let mut timeline = Timeline::default();
        for n in 0..5_000 {
            note(&mut timeline, who(n as u128), n);
        }
        let told = timeline.told();
        assert_eq!(told.len(), MAX_ENTRIES);
        assert_eq!(numbers(&told)[..3], [0, 1, 2]);
        assert_eq!(numbers(&told)[MAX_ENTRIES - 1], 4_999);
    }

    #[test]
    fn a_detail_is_one_short_line() {
        let long = format!("a\r\nb{}", "ü".repeat(1_000));
        let text = shortened(&long);
        assert_eq!(text.chars().count(), MAX_DETAIL);
        assert!(text.starts_with("a  bü"));
    }
}
