//! One light client's connection: checks, handshake, then media and reports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use caside_media::parameters::{IceCredentials, Ssrc};
use caside_media::rtcp::transport_cc::{MAX_ENCODED, MAX_STATUSES, TICK_US, encode};
use caside_media::rtcp::{Packets, RtcpMessage, RtcpWriter};
use caside_media::rtp::{RtpHeader, find_extension, unwrap_near};
use caside_media::srtp::{SRTCP_OVERHEAD, SrtpSession};
use tokio::sync::oneshot;

use super::checker::{Checker, Received, Totals};
use super::dtls::{self, Handshake, Identity};
use super::gaps::Gaps;
use super::socket::{Arrival, Socket};
use super::source::Source;
use super::stun;
use super::thread::{Connect, Instant};
use crate::marker::Marker;

/// How often what was not answered is looked at while connecting.
const EAGER: Duration = Duration::from_millis(100);
/// How often consent is renewed (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(5);
/// How often arrivals are reported; browsers do so every 50 to 250 ms.
const FEEDBACK: Duration = Duration::from_millis(100);
/// How often it says how its clocks go (RFC 3550 §6.2); the first report comes after half of it, as browsers' do.
const REPORT: Duration = Duration::from_secs(1);
/// Room for what is said at once.
const RTCP_BYTES: usize = 1200;
/// Arrivals that are kept for the next report.
const MAX_ARRIVALS: usize = 4096;

/// The way of a client's datagrams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    from: Ipv4Addr,
    to: SocketAddrV4,
}

enum Stage {
    /// Waits for a check to be answered.
    Checking,
    Handshaking(Box<Handshake>),
    Connected(Box<SrtpSession>),
    Failed,
    /// It left.
    Gone,
}

/// A client's connection.
pub(super) struct Client {
    way: Way,
    local: IceCredentials,
    remote: IceCredentials,
    stage: Stage,
    connected: Option<oneshot::Sender<()>>,
    began: Instant,
    /// From the beginning to the first whole key frame.
    pub(super) decoding_after: Option<Duration>,
    pub(super) sources: Vec<Source>,
    sources_begun: usize,
    sent_numbers: u16,
    pub(super) checker: Checker,
    /// Whose gaps are counted.
    viewer: Option<u32>,
    /// The id of transport-wide sequence numbers.
    pub(super) transport_cc: Option<u8>,
    /// Payload types of retransmissions, one bit each.
    pub(super) rtx: u128,
    arrivals: Vec<(u64, i64)>,
    highest: Option<u64>,
    /// Up to where arrivals were reported.
    reported: u64,
    feedback_count: u8,
    feedback_due: Instant,
    report_due: Instant,
}

impl Client {
    pub(super) fn new(now: Instant, from: Ipv4Addr, connect: Connect) -> Self {
        let sources = connect
            .sources
            .iter()
            .map(|options| Source::new(now, *options))
            .collect();
        Self {
            way: Way {
                from,
                to: connect.remote.address,
            },
            local: connect.local,
            remote: connect.remote.ice,
            stage: Stage::Checking,
            connected: Some(connect.connected),
            began: now,
            decoding_after: None,
            sources,
            sources_begun: 0,
            sent_numbers: 0,
            checker: Checker::default(),
            viewer: connect.viewer,
            transport_cc: connect.remote.transport_cc,
            rtx: connect.remote.rtx,
            arrivals: Vec::new(),
            highest: None,
            reported: 0,
            feedback_count: 0,
            feedback_due: now,
            report_due: now,
        }
    }

    /// Whether media flows.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected(_))
    }

    /// Whether it gave up.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed)
    }

    /// Takes a datagram.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &mut [u8],
        link: &mut Link<'_>,
        totals: &mut Totals,
        gaps: &mut Gaps,
    ) {
        let result = match datagram.first() {
            Some(0..=3) => self.receive_stun(now, datagram, link),
            Some(20..=63) => self.receive_dtls(now, datagram, link),
            _ => {
                self.receive_media(now, arrival, datagram, totals, gaps);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.fail(&error, link);
        }
    }

    /// Takes a datagram of a connected client; all but media is ignored.
    pub(super) fn receive_media(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &mut [u8],
        totals: &mut Totals,
        gaps: &mut Gaps,
    ) {
        match datagram {
            [128..=191, 192..=223, ..] => self.receive_rtcp(now, datagram),
            [128..=191, ..] => self.receive_rtp(now, arrival, datagram, totals, gaps),
            _ => {}
        }
    }

    /// The sources that may begin to send now, told once.
    pub(super) fn take_new_sources(&mut self) -> std::ops::Range<usize> {
        let from = std::mem::replace(&mut self.sources_begun, self.sources.len());
        from..self.sources.len()
    }

    /// Sends a datagram that is none of its own.
    pub(super) fn forge(&self, datagram: &[u8], link: &mut Link<'_>) {
        link.send(self.way, datagram, datagram.len());
    }

    /// Falls silent for good, and gives its memory back.
    pub(super) fn leave(&mut self, totals: &mut Totals) {
        self.checker.end_window(totals);
        self.checker = Checker::default();
        self.stage = Stage::Gone;
        self.sources = Vec::new();
        self.arrivals = Vec::new();
        self.decoding_after = None;
    }

    /// Does what is due, and says when to come again; `None` for never.
    pub(super) fn handle_timeout(&mut self, now: Instant, link: &mut Link<'_>) -> Option<Duration> {
        let result = match &mut self.stage {
            Stage::Checking => send_check(self.way, &self.local, &self.remote, link).map(|()| EAGER),
            Stage::Handshaking(handshake) => handshake
                .handle_timeout(now)
                .and_then(|()| flush(handshake, self.way, link))
                .map(|()| EAGER),
            Stage::Connected(_) => send_check(self.way, &self.local, &self.remote, link).map(|()| CONSENT),
            Stage::Failed => Ok(CONSENT),
            Stage::Gone => return None,
        };
        Some(result.unwrap_or_else(|error| {
            self.fail(&error, link);
            CONSENT
        }))
    }

    /// Sends a source's next frame.
    pub(super) fn send_frame(&mut self, now: Instant, source: usize, link: &mut Link<'_>) {
        let (Stage::Connected(srtp), Some(source)) = (&mut self.stage, self.sources.get_mut(source)) else {
            return;
        };
        source.frame(now, srtp, &mut self.sent_numbers, |bytes, len| {
            link.send(self.way, bytes, len);
        });
    }

    fn receive_stun(&mut self, now: Instant, datagram: &[u8], link: &mut Link<'_>) -> Result<()> {
        if !matches!(self.stage, Stage::Checking) || !stun::is_success(datagram) {
            return Ok(());
        }
        let mut handshake = Box::new(Handshake::begin(now, link.identity)?);
        flush(&mut handshake, self.way, link)?;
        self.stage = Stage::Handshaking(handshake);
        Ok(())
    }

    fn receive_dtls(&mut self, now: Instant, datagram: &[u8], link: &mut Link<'_>) -> Result<()> {
        let Stage::Handshaking(handshake) = &mut self.stage else {
            return Ok(());
        };
        handshake.receive(now, datagram)?;
        flush(handshake, self.way, link)?;
        if let Some(material) = handshake.material()? {
            let srtp = dtls::session(&material)?;
            self.stage = Stage::Connected(Box::new(srtp));
            self.report_due = now + REPORT / 2;
            self.sources.iter_mut().for_each(|source| source.begin(now));
            // Whoever waited for it may be gone.
            self.connected.take().map(|connected| connected.send(()));
        }
        Ok(())
    }

    fn receive_rtcp(&mut self, now: Instant, datagram: &mut [u8]) {
        let Stage::Connected(srtp) = &mut self.stage else {
            return;
        };
        let Some(len) = srtp.unprotect_rtcp(datagram) else {
            return;
        };
        for message in Packets::new(datagram.get(..len).unwrap_or_default()) {
            let media = match message {
                RtcpMessage::PictureLoss { media } => media,
                RtcpMessage::FullIntra { entries } => match entries.first_chunk() {
                    Some(ssrc) => Ssrc(u32::from_be_bytes(*ssrc)),
                    None => continue,
                },
                _ => continue,
            };
            self.sources
                .iter_mut()
                .any(|source| source.ask_for_key_frame(now, media));
        }
    }

    fn receive_rtp(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &mut [u8],
        totals: &mut Totals,
        gaps: &mut Gaps,
    ) {
        let Stage::Connected(srtp) = &mut self.stage else {
            return;
        };
        let Some(len) = srtp.unprotect_rtp(datagram) else {
            totals.unmarked += 1;
            return;
        };
        let packet = datagram.get(..len).unwrap_or_default();
        let Ok(header) = RtpHeader::parse(packet) else {
            totals.unmarked += 1;
            return;
        };
        if let Some(&[n0, n1]) = find_extension(&header.extensions(packet), self.transport_cc) {
            self.note_arrival(u16::from_be_bytes([n0, n1]), arrival.at_ns);
        }
        if self.rtx >> (header.payload_type.0 & 0x7f) & 1 == 1 {
            return;
        }
        let received = Received {
            ssrc: header.ssrc.0,
            sequence: header.sequence,
            timestamp: header.timestamp,
            len,
            payload: header.payload(packet),
            at_ns: arrival.at_ns,
        };
        if let Some(viewer) = self.viewer
            && let Some(marker) = Marker::find(received.payload)
        {
            gaps.note(viewer, marker.stream, arrival.at_ns);
        }
        if self.checker.take(&received, totals) && self.decoding_after.is_none() {
            self.decoding_after = Some(now - self.began);
        }
    }

    fn note_arrival(&mut self, number: u16, at_ns: u64) {
        let extended = match self.highest {
            Some(highest) => unwrap_near(highest, number),
            None => u64::from(number) + (1 << 16),
        };
        if self.highest.is_none() {
            self.reported = extended;
        }
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        if self.arrivals.len() < MAX_ARRIVALS && extended >= self.reported {
            let ticks = u128::from(at_ns) / 1000 / TICK_US;
            // 24 bits of 64 ms is what the encoding has; the rest of the time of day says nothing.
            self.arrivals
                .push((extended, i64::try_from(ticks % (1 << 31)).unwrap_or_default()));
        }
    }

    /// Reports how the clocks of what it sends go, when that is due, and at once what ended.
    pub(super) fn send_reports(&mut self, now: Instant, link: &mut Link<'_>) {
        let Stage::Connected(srtp) = &mut self.stage else {
            return;
        };
        let is_due = now >= self.report_due || self.sources.iter().any(Source::has_ended);
        if self.sources.is_empty() || !is_due {
            return;
        }
        self.report_due = now + REPORT;
        let mut packet = [0; RTCP_BYTES + SRTCP_OVERHEAD];
        let mut writer = RtcpWriter::new(packet.get_mut(..RTCP_BYTES).unwrap_or_default());
        self.sources.iter_mut().for_each(|source| source.report(&mut writer));
        let len = writer.len();
        if len > 0
            && let Ok(sealed) = srtp.protect_rtcp(&mut packet, len)
        {
            link.send(self.way, packet.get(..sealed).unwrap_or_default(), sealed);
        }
    }

    /// Reports arrivals, when that is due.
    pub(super) fn send_feedback(&mut self, now: Instant, link: &mut Link<'_>) {
        if self.arrivals.is_empty() || now < self.feedback_due {
            return;
        }
        self.feedback_due = now + FEEDBACK;
        let Stage::Connected(srtp) = &mut self.stage else {
            return;
        };
        self.arrivals.sort_unstable_by_key(|(number, _)| *number);
        let mut next = self.arrivals.iter().copied().peekable();
        let Some((last, _)) = self.arrivals.last().copied() else {
            return;
        };
        while self.reported <= last {
            let end = last.min(self.reported + MAX_STATUSES as u64 - 1);
            let statuses = (self.reported..=end).map(|number| {
                while next.peek().is_some_and(|(at, _)| *at < number) {
                    next.next();
                }
                next.next_if(|(at, _)| *at == number).map(|(_, tick)| tick)
            });
            let statuses: Vec<Option<i64>> = statuses.collect();
            let mut body = [0; MAX_ENCODED];
            let base = u16::try_from(self.reported & 0xffff).unwrap_or_default();
            let (len, taken) = encode(&mut body, base, self.feedback_count, statuses.iter().copied());
            if taken == 0 {
                break;
            }
            // What did not fit is left out: it is a delay of seconds.
            self.reported = end + 1;
            if len == 0 {
                continue;
            }
            self.feedback_count = self.feedback_count.wrapping_add(1);
            let mut packet = [0; RTCP_BYTES + SRTCP_OVERHEAD];
            let mut writer = RtcpWriter::new(packet.get_mut(..RTCP_BYTES).unwrap_or_default());
            let written = writer.transport_cc(Ssrc(1), Ssrc(1), body.get(..len).unwrap_or_default());
            let len = writer.len();
            if let (true, Ok(sealed)) = (written, srtp.protect_rtcp(&mut packet, len)) {
                link.send(self.way, packet.get(..sealed).unwrap_or_default(), sealed);
            }
        }
        self.arrivals.clear();
    }

    fn fail(&mut self, error: &anyhow::Error, link: &mut Link<'_>) {
        if !matches!(self.stage, Stage::Failed | Stage::Gone) {
            link.failures.push(format!("{}: {error:#}", self.way.from));
            self.stage = Stage::Failed;
            self.connected = None;
        }
    }
}

/// What clients send with.
pub(super) struct Link<'l> {
    pub(super) socket: &'l Socket,
    pub(super) identity: &'l Identity,
    pub(super) failures: &'l mut Vec<String>,
}

impl Link<'_> {
    fn send(&mut self, way: Way, bytes: &[u8], segment: usize) {
        if let Err(error) = self.socket.send(way.from, way.to, bytes, segment)
            && self.failures.len() < 16
        {
            self.failures.push(format!("{}: {error:#}", way.from));
        }
    }
}

fn send_check(way: Way, local: &IceCredentials, remote: &IceCredentials, link: &mut Link<'_>) -> Result<()> {
    let check = stun::write_check(local, remote, stun::NOMINATES).context("cannot build a check")?;
    link.send(way, &check, check.len());
    Ok(())
}

fn flush(handshake: &mut Handshake, way: Way, link: &mut Link<'_>) -> Result<()> {
    while let Some(datagram) = handshake.transmit() {
        link.send(way, &datagram, datagram.len());
    }
    Ok(())
}
