//! Whether what comes of a producer is of use, looked at with its transport's reports.

use crate::control::Flow;

/// So many looks in a row without a packet are silence. Reports are 0.9–1.1 s apart: two to three seconds. Sound that is sent
/// discontinuously comes every 400 ms.
const QUIET_LOOKS: u8 = 3;

/// What was seen of a producer, and told.
#[derive(Debug, Default)]
pub(crate) struct FlowMeter {
    packets: u64,
    quiet: u8,
    told: Flow,
}

impl FlowMeter {
    /// Takes the number of packets so far, and whether a key frame is asked for in vain. What it is now, if that is news.
    pub(crate) fn look(&mut self, packets: u64, paused: bool, unheeded: bool) -> Option<Flow> {
        let came = std::mem::replace(&mut self.packets, packets) != packets;
        self.quiet = if came || paused {
            0
        } else {
            self.quiet.saturating_add(1)
        };
        let now = if self.quiet >= QUIET_LOOKS {
            Flow::Silent
        } else if came && unheeded && !paused {
            Flow::NoKeyFrame
        } else if came || paused {
            Flow::Fine
        } else {
            self.told
        };
        (std::mem::replace(&mut self.told, now) != now).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_after_three_looks_and_its_end_at_once() {
        let mut meter = FlowMeter::default();
        assert_eq!(meter.look(10, false, false), None);
        assert_eq!(
            [10, 10, 10, 10].map(|packets| meter.look(packets, false, false)),
            [None, None, Some(Flow::Silent), None]
        );
        assert_eq!(meter.look(11, false, false), Some(Flow::Fine));
    }

    #[test]
    fn a_track_of_which_nothing_ever_came_is_silent_too() {
        let mut meter = FlowMeter::default();
        assert_eq!(
            [0; 3].map(|packets| meter.look(packets, false, false)),
            [None, None, Some(Flow::Silent)]
        );
    }

    #[test]
    fn what_is_paused_may_be_silent() {
        let mut meter = FlowMeter::default();
        assert!([0; 9].iter().all(|packets| meter.look(*packets, true, false).is_none()));
    }

    #[test]
    fn requests_in_vain_count_while_packets_come() {
        let mut meter = FlowMeter::default();
        assert_eq!(meter.look(5, false, true), Some(Flow::NoKeyFrame));
        assert_eq!(meter.look(9, false, true), None);
        assert_eq!(meter.look(12, false, false), Some(Flow::Fine));
    }
}
