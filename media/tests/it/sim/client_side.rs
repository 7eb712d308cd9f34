//! A simulated client: it publishes, receives, answers NACKs and asks for what it misses.

use std::time::{Duration, Instant};

use caside_media::parameters::{Ssrc, TransportId};
use caside_media::rtcp::parse::ssrcs;
use caside_media::rtcp::{NtpTime, Packets, ReportBlock, RtcpMessage, RtcpWriter};
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

use crate::sim::connect::Connected;
use crate::sim::feedback::Arrivals;
use crate::sim::sink::Sink;
use crate::sim::source::{self, Source};
use crate::transport::link::SimLink;

/// How often a client looks for missing packets.
const NACK_INTERVAL: Duration = Duration::from_millis(30);
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// How often it tells what arrived, if it does.
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(60);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A client with one transport.
pub(crate) struct Client {
    pub(crate) transport: TransportId,
    pub(crate) connected: Connected,
    pub(crate) up: SimLink,
    pub(crate) down: SimLink,
    pub(crate) sources: Vec<Source>,
    pub(crate) sinks: Vec<Sink>,
    /// Our wall clock less that of the engine, in seconds.
    pub(crate) clock_ahead: f64,
    /// The fraction lost that reports tell, in 1/256.
    pub(crate) reported_loss: u8,
    /// What arrived, for a client that tells it.
    pub(crate) arrivals: Option<Arrivals>,
    next_arrivals: Instant,
    next_nack: Instant,
    next_report: Instant,
    next_check: Instant,
    next_number: u16,
    /// The last sender report that came: compact NTP and when.
    last_report: Option<(u32, Instant)>,
    /// Report blocks about our sources.
    pub(crate) blocks: Vec<ReportBlock>,
    /// Transport-wide numbers that were reported as received, and how many messages did so.
    pub(crate) acknowledged: std::collections::BTreeSet<u16>,
    pub(crate) feedback_messages: usize,
    pub(crate) rembs: Vec<f32>,
    pub(crate) numbered: u32,
    /// Transport-wide numbers of what we received, in order of arrival.
    pub(crate) numbers_received: Vec<u16>,
    pub(crate) closed: bool,
    /// Another client had this path before; what is still sent to that one cannot be opened.
    pub(crate) inherited_path: bool,
}

impl Client {
    pub(crate) fn new(now: Instant, transport: TransportId, connected: Connected, up: SimLink, down: SimLink) -> Self {
        Self {
            transport,
            connected,
            up,
            down,
            sources: Vec::new(),
            sinks: Vec::new(),
            clock_ahead: 0.0,
            reported_loss: 64,
            arrivals: None,
            next_arrivals: now + ARRIVALS_INTERVAL,
            next_nack: now + NACK_INTERVAL,
            next_report: now + REPORT_INTERVAL,
            next_check: now + CHECK_INTERVAL,
            next_number: 65_500,
            last_report: None,
            blocks: Vec::new(),
            acknowledged: std::collections::BTreeSet::new(),
            feedback_messages: 0,
            rembs: Vec::new(),
            numbered: 0,
            numbers_received: Vec::new(),
            closed: false,
            inherited_path: false,
        }
    }

    pub(crate) fn next_time(&self) -> Instant {
        let frames = self.sources.iter().filter_map(|source| source.next_frame);
        frames
            .chain([self.next_nack, self.next_report, self.next_check])
            .chain(self.arrivals.as_ref().map(|_| self.next_arrivals))
            .min()
            .expect("there is always a report to come")
    }

    /// Sends nothing of its own accord any more, as a page that is gone.
    pub(crate) fn fall_silent(&mut self, now: Instant) {
        let never = now + Duration::from_secs(24 * 3600);
        self.sources.iter_mut().for_each(|source| source.next_frame = None);
        self.next_nack = never;
        self.next_report = never;
        self.next_check = never;
        self.next_arrivals = never;
    }

    /// Acts on what is due.
    pub(crate) fn act(&mut self, now: Instant, wall: NtpTime) {
        for index in 0..self.sources.len() {
            if self.sources[index].next_frame.is_some_and(|at| at <= now) {
                for packet in self.sources[index].frame(now) {
                    self.send_rtp(now, packet);
                }
            }
        }
        if self.next_nack <= now {
            self.next_nack = now + NACK_INTERVAL;
            for index in 0..self.sinks.len() {
                let missing = self.sinks[index].missing();
                let ssrc = self.sinks[index].parameters.ssrc;
                self.nack(now, ssrc, &missing);
            }
        }
        if self.next_arrivals <= now {
            self.next_arrivals = now + ARRIVALS_INTERVAL;
            let media = self.sinks.first().map_or(Ssrc(9), |sink| sink.parameters.ssrc);
            for body in self.arrivals.as_mut().map(Arrivals::take).unwrap_or_default() {
                self.send_rtcp(now, |writer| writer.transport_cc(Ssrc(9), media, &body));
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            self.report(now, wall);
        }
        if self.next_check <= now {
            self.next_check = now + CHECK_INTERVAL;
            let check = self.connected.check();
            self.up.send(now, self.connected.path, &check);
        }
    }

    pub(crate) fn nack(&mut self, now: Instant, ssrc: Ssrc, missing: &[u16]) {
        for chunk in missing.chunks(250) {
            let pairs: Vec<_> = chunk.iter().map(|sequence| (*sequence, 0)).collect();
            self.send_rtcp(now, |writer| writer.nack(Ssrc(9), ssrc, &pairs));
        }
    }

    /// Sends a plain packet of a source.
    pub(crate) fn send_rtp(&mut self, now: Instant, mut packet: Vec<u8>) {
        source::number(&mut packet, self.next_number);
        self.next_number = self.next_number.wrapping_add(1);
        self.numbered += 1;
        self.send_plain(now, &packet);
    }

    /// Sends any plain bytes as RTP.
    pub(crate) fn send_plain(&mut self, now: Instant, packet: &[u8]) {
        let sealed = self.connected.seal.encrypt_rtp(packet).unwrap();
        self.up.send(now, self.connected.path, &sealed);
    }

    pub(crate) fn send_rtcp(&mut self, now: Instant, write: impl FnOnce(&mut RtcpWriter<'_>) -> bool) {
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        assert!(write(&mut writer));
        let len = writer.len();
        let sealed = self.connected.seal.encrypt_rtcp(&buffer[..len]).unwrap();
        self.up.send(now, self.connected.path, &sealed);
    }

    /// Sender reports about the sources, and a receiver report that lets the round-trip time be known.
    fn report(&mut self, now: Instant, wall: NtpTime) {
        let ntp = wall.moved((self.clock_ahead * (1u64 << 32) as f64) as i64);
        let reports: Vec<_> = self
            .sources
            .iter()
            .filter(|source| source.packets > 0 && source.reports)
            .map(|source| {
                // The clock of a source stands still between frames; the next frame's moment is known.
                let ahead = source
                    .next_frame
                    .map_or(0.0, |at| at.saturating_duration_since(now).as_secs_f64());
                let rtp = source
                    .timestamp
                    .wrapping_sub((ahead * f64::from(source.clock_rate())) as u32);
                (source.ssrc, rtp, source.packets)
            })
            .collect();
        for (ssrc, rtp, packets) in reports {
            self.send_rtcp(now, |writer| writer.sender_report(ssrc, ntp, rtp, packets, 0));
        }
        let Some((last_report, at)) = self.last_report else {
            return;
        };
        let delay = caside_media::rtcp::ntp::to_compact(now - at);
        for ssrc in self.sinks.iter().map(|sink| sink.parameters.ssrc).collect::<Vec<_>>() {
            let block = ReportBlock {
                ssrc,
                fraction_lost: self.reported_loss,
                lost: 0,
                highest: 0,
                jitter: 0,
                last_report,
                delay,
            };
            self.send_rtcp(now, |writer| writer.receiver_report(Ssrc(9), &[block]));
        }
    }

    /// Takes a datagram from the engine.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) {
        match *datagram {
            [128..=191, 192..=223, ..] => self.receive_rtcp(now, datagram),
            [128..=191, ..] => self.receive_rtp(now, datagram),
            [20..=63, ..] => {
                self.connected.dtls.receive(now, datagram);
                self.closed |= self.connected.dtls.closed;
            }
            _ => {}
        }
    }

    fn receive_rtp(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(packet) = self.connected.open.decrypt_rtp(datagram) else {
            assert!(self.inherited_path, "what is sent can be opened");
            return;
        };
        let header = caside_media::rtp::RtpHeader::parse(&packet).expect("what is sent is RTP");
        let sink = self
            .sinks
            .iter_mut()
            .find(|sink| sink.parameters.ssrc == header.ssrc || sink.parameters.rtx_ssrc == Some(header.ssrc))
            .expect("nothing comes that was not asked for");
        let numbered = header
            .extensions(&packet)
            .find(|(id, _)| Some(*id) == sink.parameters.extensions.transport_cc);
        let number = numbered.map(|(_, data)| u16::from_be_bytes([data[0], data[1]]));
        self.numbers_received.extend(number);
        if let (Some(arrivals), Some(number)) = (&mut self.arrivals, number) {
            arrivals.record(now, number);
        }
        sink.receive(now, &packet, datagram);
    }

    fn receive_rtcp(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(compound) = self.connected.open.decrypt_rtcp(datagram) else {
            assert!(self.inherited_path, "what is sent can be opened");
            return;
        };
        self.receive_with_oracle(&compound);
        for message in Packets::new(&compound) {
            match message {
                RtcpMessage::SenderReport { ssrc, ntp, rtp, .. } => {
                    self.last_report = Some((ntp.compact(), now));
                    let sink = self
                        .sinks
                        .iter_mut()
                        .find(|sink| sink.parameters.ssrc == ssrc)
                        .expect("a sink of ours");
                    sink.reports.push((now, ntp, rtp));
                }
                RtcpMessage::ReceiverReport { blocks } => self.blocks.extend(blocks),
                RtcpMessage::Nack { media, pairs } => {
                    // The stream may have changed while the request was under way.
                    let Some(source) = self.source(media) else { continue };
                    let again: Vec<_> = pairs
                        .sequences()
                        .filter_map(|sequence| source.again(sequence))
                        .collect();
                    again.into_iter().for_each(|packet| self.send_rtp(now, packet));
                }
                RtcpMessage::PictureLoss { media } => self.key_frame_wanted(now, media),
                RtcpMessage::FullIntra { entries } => {
                    ssrcs(entries, 8).for_each(|media| self.key_frame_wanted(now, media));
                }
                _ => {}
            }
        }
    }

    /// What our own parser leaves out, read by another implementation.
    fn receive_with_oracle(&mut self, compound: &[u8]) {
        for packet in rtc_rtcp::packet::unmarshal(&mut &compound[..]).expect("valid RTCP") {
            let packet = packet.as_any();
            if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                self.feedback_messages += 1;
                self.acknowledged.extend(received(feedback));
            } else if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
                self.rembs.push(remb.bitrate);
            } else if let Some(description) = packet.downcast_ref::<SourceDescription>() {
                for chunk in &description.chunks {
                    let sink = self
                        .sinks
                        .iter_mut()
                        .find(|sink| sink.parameters.ssrc.0 == chunk.source);
                    let name = String::from_utf8(chunk.items[0].text.to_vec()).expect("a name");
                    sink.expect("a sink of ours").cnames.insert(name);
                }
            }
        }
    }

    fn key_frame_wanted(&mut self, now: Instant, media: Ssrc) {
        if let Some(source) = self.source(media) {
            source.pli(now);
        }
    }

    fn source(&mut self, ssrc: Ssrc) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.ssrc == ssrc)
    }
}

fn received(feedback: &TransportLayerCc) -> Vec<u16> {
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc};
    feedback
        .packet_chunks
        .iter()
        .flat_map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(run) => vec![run.packet_status_symbol; usize::from(run.run_length)],
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
        })
        .take(usize::from(feedback.packet_status_count))
        .zip(0u16..)
        .filter(|(symbol, _)| *symbol != SymbolTypeTcc::PacketNotReceived)
        .map(|(_, offset)| feedback.base_sequence_number.wrapping_add(offset))
        .collect()
}
