//! How far connections and tracks came, as the room is told: what explains a call.

use std::sync::atomic::Ordering;

use caside_media::control::Command;
use caside_media::parameters::{ProducerId, TransportId};
use caside_media::sdp::CandidateTransport;

use super::command::{ConnectionStep, SfuEvent, TrackStep};
use super::state::SfuState;

impl SfuState {
    /// Tells of connections that clients may begin from here on.
    pub(super) fn tell_offered(&mut self) {
        let fresh = self
            .effects
            .commands
            .iter()
            .filter_map(|(worker, command)| match command {
                Command::ConnectTransport { transport, .. } if !self.offered.contains(transport) => {
                    Some((*worker, *transport))
                }
                _ => None,
            });
        let fresh: Vec<(usize, TransportId)> = fresh.collect();
        if fresh.is_empty() {
            return;
        }
        self.offered.retain(|transport| self.transports.contains_key(transport));
        for (worker, transport) in fresh {
            self.offered.insert(transport);
            let candidates = self
                .setting
                .candidates
                .get(worker)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let by = |wanted| candidates.iter().any(|candidate| candidate.transport == wanted);
            let step = ConnectionStep::Offered {
                udp: by(CandidateTransport::Udp),
                tcp: by(CandidateTransport::TcpPassive),
                reached: self.setting.reached.load(Ordering::Relaxed),
            };
            self.stepped(transport, step);
        }
    }

    /// A connection came a step further.
    pub(super) fn stepped(&mut self, transport: TransportId, step: ConnectionStep) {
        if step == (ConnectionStep::Checked { tcp: false }) {
            self.setting.reached.store(true, Ordering::Relaxed);
        }
        if let Some((participant, target)) = self.transports.get(&transport).copied() {
            self.effects.events.push(SfuEvent::ConnectionStep {
                participant,
                target,
                connection: transport.0,
                step,
            });
        }
    }

    /// Something of a track came.
    pub(super) fn came(&mut self, producer: ProducerId, step: TrackStep) {
        if let Some(known) = self.producers.get(&producer) {
            self.effects.events.push(SfuEvent::TrackStep {
                participant: known.participant,
                track: known.published.track.track,
                step,
            });
        }
    }
}
