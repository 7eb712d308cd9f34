//! How well participants' connections do, in the words that clients are told.

use caside_media::parameters::TransportId;
use caside_media::quality::{Cause, Grade};
use caside_protocol::view::Quality;

use super::{SfuEvent, SfuState};

impl SfuState {
    /// A connection was judged anew. The room is told of the worse of a participant's two.
    pub(super) fn judged(&mut self, transport: TransportId, grade: Grade, cause: Option<Cause>) {
        let Some((participant, _)) = self.transports.get(&transport).copied() else {
            return;
        };
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        member.grades.insert(transport, (grade, cause));
        member
            .grades
            .retain(|transport, _| self.transports.contains_key(transport));
        let Some((grade, cause)) = member.grades.values().min_by_key(|(grade, _)| *grade).copied() else {
            return;
        };
        let quality = (word(grade), cause.map(trouble));
        if member.quality.replace(quality) != Some(quality) {
            let (quality, cause) = quality;
            self.effects.events.push(SfuEvent::Quality {
                participant,
                quality,
                cause,
            });
        }
    }
}

/// As clients are told.
fn word(grade: Grade) -> Quality {
    match grade {
        Grade::Excellent => Quality::Excellent,
        Grade::Good => Quality::Good,
        Grade::Poor => Quality::Poor,
    }
}

/// The stable word for what is wrong with a connection that is up.
fn trouble(cause: Cause) -> &'static str {
    match cause {
        Cause::Loss => "loss",
        Cause::Delay => "delay",
        Cause::Jitter => "jitter",
        Cause::Bandwidth => "bandwidth",
        Cause::Overload => "overload",
    }
}
