//! SCTP of an intruder: nonsense in good encryption, and messages without end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::attack::Attack;
use super::dice::Dice;
use super::intruder::Intruder;
use super::pipe::{Line, Pipe};
use crate::light::now;

/// Packets of one volley.
const VOLLEY: u64 = 32;

/// What rtc-sctp knows the node by.
const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// Messages that wait to be acknowledged: what keeps the association busy.
const IN_FLIGHT: usize = 256 << 10;

/// SCTP packets of random chunks.
pub(super) struct Nonsense {
    intruder: Intruder,
    dice: Dice,
}

impl Nonsense {
    pub(super) fn new(intruder: Intruder) -> Self {
        Self {
            intruder,
            dice: Dice::new(43),
        }
    }

    fn packet(&mut self) -> Vec<u8> {
        let mut packet = 5000u16.to_be_bytes().repeat(2);
        packet.extend((self.dice.next() as u32).to_be_bytes());
        packet.extend([0; 4]);
        for _ in 0..1 + self.dice.below(6) {
            // The types of RFC 9260 and its extensions, and a few that nobody has.
            let kinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 128, 130, 192, 255];
            let kind = kinds[self.dice.below(kinds.len())];
            let body = self.dice.bytes(0, 120);
            packet.extend([kind, self.dice.next() as u8]);
            packet.extend((4 + body.len() as u16).to_be_bytes());
            packet.extend(body);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        let sum = crc32c(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packet
    }
}

impl Attack for Nonsense {
    fn volley(&mut self) -> Result<u64> {
        self.intruder.subscribe.tend()?;
        for _ in 0..VOLLEY {
            let packet = self.packet();
            self.intruder.publish.tend()?;
            self.intruder.publish.write(&packet)?;
        }
        Ok(VOLLEY)
    }
}

/// The checksum of SCTP (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

/// Messages over a data channel, as fast as they are acknowledged.
pub(super) struct Messages {
    publish: Pipe,
    subscribe: Pipe,
    /// Others who are sent the messages and take none.
    audience: Vec<Line>,
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    open: bool,
    message: Vec<u8>,
}

impl Messages {
    pub(super) fn new(intruder: Intruder, audience: Vec<Line>) -> Result<Self> {
        let mut endpoint = Endpoint::new(NODE, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None);
        let config = ClientConfig::new(TransportConfig::default());
        let (handle, association) = endpoint.connect(now(), config, NODE)?;
        Ok(Self {
            publish: intruder.publish,
            subscribe: intruder.subscribe,
            audience,
            endpoint,
            handle,
            association,
            open: false,
            message: Dice::new(47).bytes(200, 200),
        })
    }

    fn transmit(&mut self) -> Result<u64> {
        let mut sent = 0;
        while let Some(transmit) = self.association.poll_transmit(now()) {
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in packets {
                    self.publish.write(&packet)?;
                    sent += 1;
                }
            }
        }
        Ok(sent)
    }
}

impl Attack for Messages {
    fn volley(&mut self) -> Result<u64> {
        self.subscribe.tend()?;
        self.publish.tend()?;
        self.audience.iter_mut().try_for_each(Line::renew)?;
        for packet in std::mem::take(&mut self.publish.data) {
            if let Some((handle, DatagramEvent::AssociationEvent(event))) =
                self.endpoint.handle(now(), NODE, None, packet.freeze())
                && handle == self.handle
            {
                self.association.handle_event(event);
            }
        }
        if self.association.poll_timeout().is_some_and(|at| at <= now()) {
            self.association.handle_timeout(now());
        }
        while let Some(event) = self.association.poll() {
            if matches!(event, Event::Connected) {
                self.open = true;
                // DATA_CHANNEL_OPEN of a reliable channel (RFC 8832 §5.1).
                let open = [&[3, 0, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0][..], b"flood"].concat();
                let mut stream = self.association.open_stream(0, Ppid::Binary)?;
                stream.write_with_ppi(now(), &open, Ppid::Dcep)?;
            }
        }
        if self.open {
            let mut stream = self.association.stream(0).context("the channel was closed")?;
            while stream.buffered_amount()? < IN_FLIGHT {
                stream.write_with_ppi(now(), &self.message, Ppid::Binary)?;
            }
        }
        let sent = self.transmit()?;
        if sent == 0 {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
