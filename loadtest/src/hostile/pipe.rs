//! One connection of somebody who was let in: its checks pass, its keys are good.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::BytesMut;
use caside_media::parameters::{IceCredentials, Ssrc};
use caside_media::rtp::RtpHeader;
use caside_media::srtp::{SRTCP_OVERHEAD, SrtpSession};

use super::attack::since;
use crate::light::dtls::{self, Handshake, Identity, Material};
use crate::light::sdp::Remote;
use crate::light::socket::{Inbox, Socket};
use crate::light::{Instant, now, stun};
use crate::session::ANSWER_LIMIT;

/// How often consent is renewed.
const CONSENT: Duration = Duration::from_secs(2);
/// How often what was not answered is said again.
const REPEAT: Duration = Duration::from_millis(100);
/// Asked of the kernel: what comes in is hardly looked at.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of a compound at most.
const MAX_COMPOUND: usize = 1200;

/// A path that the node has validated.
pub(super) struct Line {
    socket: Socket,
    pub(super) from: Ipv4Addr,
    pub(super) to: SocketAddrV4,
    /// Ours.
    pub(super) local: IceCredentials,
    /// The node's.
    pub(super) remote: IceCredentials,
    checked: Instant,
}

impl Line {
    /// Checks until a check is answered. Blocks.
    pub(super) fn open(from: Ipv4Addr, local: IceCredentials, remote: &Remote) -> Result<Self> {
        let start = now();
        let mut line = Self {
            socket: Socket::bind(BUFFER_BYTES)?,
            from,
            to: remote.address,
            local,
            remote: remote.ice.clone(),
            checked: start,
        };
        let mut inbox = Inbox::new();
        let mut answered = false;
        while !answered {
            line.check(stun::NOMINATES, from)?;
            let sent = now();
            while !answered && since(sent) < REPEAT {
                line.socket
                    .receive(&mut inbox, |_, datagram| answered |= stun::is_success(datagram))?;
                std::thread::sleep(Duration::from_millis(1));
            }
            if since(start) > ANSWER_LIMIT {
                bail!("the node answers no check");
            }
        }
        Ok(line)
    }

    /// Sends a check from one of our addresses.
    pub(super) fn check(&self, check: stun::Check, from: Ipv4Addr) -> Result<()> {
        let datagram = stun::write_check(&self.local, &self.remote, check)?;
        self.socket.send(from, self.to, &datagram, datagram.len())
    }

    /// Sends datagrams of `segment` bytes each.
    pub(super) fn send(&self, bytes: &[u8], segment: usize) -> Result<()> {
        self.socket.send(self.from, self.to, bytes, segment)
    }

    /// Renews consent when that is due.
    pub(super) fn renew(&mut self) -> Result<()> {
        if since(self.checked) >= CONSENT {
            self.checked = now();
            self.check(stun::NOMINATES, self.from)?;
        }
        Ok(())
    }
}

/// What was seen of a stream that the node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) ssrc: Ssrc,
    pub(super) sequence: u16,
    pub(super) payload_type: u8,
}

/// A line with keys.
pub(super) struct Pipe {
    pub(super) line: Line,
    handshake: Handshake,
    pub(super) material: Material,
    pub(super) srtp: SrtpSession,
    inbox: Inbox,
    /// The node's streams, as they were seen last.
    pub(super) seen: Vec<Seen>,
    /// Decrypted SCTP packets.
    pub(super) data: Vec<BytesMut>,
}

impl Pipe {
    /// Shakes hands. Blocks.
    pub(super) fn secure(line: Line, identity: &Identity) -> Result<Self> {
        let start = now();
        let mut handshake = Handshake::begin(start, identity)?;
        let mut inbox = Inbox::new();
        let mut line = line;
        let material = loop {
            while let Some(datagram) = handshake.transmit() {
                line.send(&datagram, datagram.len())?;
            }
            if let Some(material) = handshake.material()? {
                break material;
            }
            let mut came = Vec::new();
            line.socket.receive(&mut inbox, |_, datagram| {
                if matches!(datagram.first(), Some(20..=63)) {
                    came.push(datagram.to_vec());
                }
            })?;
            for datagram in came {
                handshake.receive(now(), &datagram)?;
            }
            handshake.handle_timeout(now())?;
            line.renew()?;
            if since(start) > ANSWER_LIMIT {
                bail!("the handshake does not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        Ok(Self {
            line,
            handshake,
            srtp: dtls::session(&material)?,
            material,
            inbox,
            seen: Vec::new(),
            data: Vec::new(),
        })
    }

    /// Keeps the connection alive, and notes what comes.
    pub(super) fn tend(&mut self) -> Result<()> {
        self.line.renew()?;
        let (srtp, seen) = (&mut self.srtp, &mut self.seen);
        let mut records = Vec::new();
        self.line
            .socket
            .receive(&mut self.inbox, |_, datagram| match datagram {
                [20..=63, ..] => records.push(datagram.to_vec()),
                [128..=191, 0..=191 | 224.., ..] => {
                    if let Some(len) = srtp.unprotect_rtp(datagram)
                        && let Ok(header) = RtpHeader::parse(&datagram[..len])
                    {
                        note(seen, &header);
                    }
                }
                _ => {}
            })?;
        for record in records {
            self.handshake.receive(now(), &record)?;
        }
        self.data.extend(self.handshake.take_data());
        Ok(())
    }

    /// Encrypts a packet for DTLS and sends it.
    pub(super) fn write(&mut self, packet: &[u8]) -> Result<()> {
        self.handshake.write(now(), packet)?;
        while let Some(datagram) = self.handshake.transmit() {
            self.line.send(&datagram, datagram.len())?;
        }
        Ok(())
    }

    /// Seals a compound and sends it.
    pub(super) fn send_rtcp(&mut self, compound: &[u8]) -> Result<()> {
        let sealed = self.seal_rtcp(compound)?;
        self.line.send(&sealed, sealed.len())
    }

    /// Seals a compound of at most 1,200 bytes.
    pub(super) fn seal_rtcp(&mut self, compound: &[u8]) -> Result<Vec<u8>> {
        let len = compound.len().min(MAX_COMPOUND);
        let mut packet = vec![0; len + SRTCP_OVERHEAD];
        packet[..len].copy_from_slice(&compound[..len]);
        let sealed = self.srtp.protect_rtcp(&mut packet, len)?;
        packet.truncate(sealed);
        Ok(packet)
    }
}

/// Streams that are told apart at most.
const MAX_SEEN: usize = 64;

fn note(seen: &mut Vec<Seen>, header: &RtpHeader) {
    let now = Seen {
        ssrc: header.ssrc,
        sequence: header.sequence,
        payload_type: header.payload_type.0,
    };
    if let Some(known) = seen.iter_mut().find(|seen| seen.ssrc == now.ssrc) {
        *known = now;
    } else if seen.len() < MAX_SEEN {
        seen.push(now);
    }
}
