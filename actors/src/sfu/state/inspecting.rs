//! An SFU as an operator sees it: in short at once, in full when every engine that has a part of the room has measured.

use std::collections::BTreeSet;

use caside_media::control::TransportStats;
use serde_json::{Map, Value, json};

use super::*;

/// Operators who may wait for measurements; of more, the first is not answered.
const MOST: usize = 8;
/// Members that the short form names.
const NAMED: usize = 24;
/// Most bytes of the full form; members beyond it are left out.
const MAX_BYTES: usize = 512 * 1024;

/// An operator who waits.
#[derive(Debug)]
pub(super) struct Inspection {
    asked: Asked,
    /// Requests to engines that are not answered yet.
    open: BTreeSet<u64>,
    measured: Vec<TransportStats>,
}

impl SfuState {
    /// Answers, now or when the engines have.
    pub(in crate::sfu) fn inspect(&mut self, asked: Asked) -> Effects {
        if !asked.is_full() {
            asked.answer(self.in_short());
            return Effects::default();
        }
        let mut open = BTreeSet::new();
        let seats: Vec<Seat> = self.seats.iter().map(|taken| taken.seat).collect();
        for seat in seats {
            let request = (self.setting.next_id)();
            open.insert(request);
            let router = seat.router;
            self.effects
                .commands
                .push((seat.worker, Command::Stats { router, request }));
        }
        let inspection = Inspection {
            asked,
            open,
            measured: Vec::new(),
        };
        if inspection.open.is_empty() {
            self.answer(inspection);
        } else {
            if self.inspections.len() >= MOST {
                self.inspections.remove(0);
            }
            self.inspections.push(inspection);
        }
        std::mem::take(&mut self.effects)
    }

    /// An engine has measured.
    pub(super) fn measured(&mut self, request: u64, transports: Vec<TransportStats>) {
        let Some(index) = self.inspections.iter().position(|it| it.open.contains(&request)) else {
            return;
        };
        let inspection = &mut self.inspections[index];
        inspection.open.remove(&request);
        inspection.measured.extend(transports);
        if inspection.open.is_empty() {
            let inspection = self.inspections.remove(index);
            self.answer(inspection);
        }
    }

    fn in_short(&self) -> Value {
        let named: Vec<Value> = self.floor.iter().take(NAMED).filter_map(|id| self.named(*id)).collect();
        json!({
            "members": self.members.len(),
            "tracks": self.tracks.len(),
            "connections": self.transports.len(),
            "taps": self.taps.len(),
            "workers": self.seats.iter().map(|taken| taken.seat.worker).collect::<Vec<_>>(),
            "waiting_for_a_seat": self.members.values().filter(|member| member.waits).count(),
            "last_n": self.last_n,
            "audio_last_n": self.audio_last_n,
            "named": named,
        })
    }

    fn named(&self, id: ParticipantId) -> Option<Value> {
        let member = self.members.get(&id)?;
        let (quality, cause) = member.quality.unzip();
        Some(json!({
            "participant_id": id,
            "publishes": member.publish.as_ref().map_or(0, |it| it.tracks.len()),
            "receives": member.subscribe.as_ref().map_or(0, |it| it.sent().len()),
            "quality": quality,
            "cause": cause.flatten(),
        }))
    }

    fn answer(&self, inspection: Inspection) {
        let mut members = Map::new();
        let mut bytes = 0;
        let mut truncated = false;
        for (id, member) in &self.members {
            let value = self.in_full(*id, member, &inspection.measured);
            bytes += value.to_string().len();
            if bytes > MAX_BYTES {
                truncated = true;
                break;
            }
            members.insert(id.to_string(), value);
        }
        inspection
            .asked
            .answer(json!({ "members": members, "truncated": truncated }));
    }

    fn in_full(&self, id: ParticipantId, member: &Member, measured: &[TransportStats]) -> Value {
        let mut value = stats::of_participant(
            measured,
            |transport| {
                let of = self
                    .transports
                    .get(&transport)
                    .filter(|(participant, _)| *participant == id);
                of.map(|(_, target)| *target)
            },
            |producer| self.producers.get(&producer).map(|it| it.published.track.track),
            |consumer| member.track_of(consumer),
        );
        value["worker"] = json!(member.seat.map(|seat| seat.worker));
        value["receiving"] = json!(member.receiving);
        value["waits_for_a_seat"] = json!(member.waits);
        value
    }
}
