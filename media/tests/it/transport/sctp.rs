//! SCTP and data channels of a client, over its DTLS.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use caside_media::data::DataError;
use caside_media::transport::TransportEvent;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_open::{ChannelType, DataChannelOpen};
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, ServerConfig, StreamEvent, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::Marshal;

use super::link::Conditions;
use super::world::World;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// A client's SCTP over its DTLS.
pub(super) struct Sctp {
    pub(super) world: World,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    pub(super) connected: bool,
    /// Every message: stream, identifier of its kind, bytes.
    pub(super) received: Vec<(u16, Ppid, Vec<u8>)>,
    pub(super) lost: HashSet<u16>,
}

impl Sctp {
    /// Waits for us to begin, or for [`connect`](Self::connect).
    pub(super) fn new(world: World) -> Self {
        let server = Arc::new(ServerConfig::new(transport()));
        let endpoint = Endpoint::new(
            PEER,
            TransportProtocol::UDP,
            Arc::new(EndpointConfig::new()),
            Some(server),
        );
        Self {
            world,
            endpoint,
            association: None,
            connected: false,
            received: Vec::new(),
            lost: HashSet::new(),
        }
    }

    pub(super) fn connected() -> Self {
        Self::connected_over(Conditions::GOOD)
    }

    pub(super) fn connected_over(conditions: Conditions) -> Self {
        let mut sctp = Self::new(World::secured());
        (sctp.world.up.conditions, sctp.world.down.conditions) = (conditions, conditions);
        sctp.connect();
        sctp.run_until(30, |sctp| sctp.connected);
        assert!(sctp.connected);
        sctp
    }

    pub(super) fn connect(&mut self) {
        let config = ClientConfig::new(transport());
        self.association = Some(self.endpoint.connect(self.world.now, config, PEER).unwrap());
    }

    pub(super) fn run_until(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..seconds * 200 {
            if done(self) {
                return;
            }
            self.step();
        }
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    pub(super) fn step(&mut self) {
        self.world.run_for(Duration::from_millis(5));
        let now = self.world.now;
        for packet in std::mem::take(&mut self.world.client.data) {
            match self.endpoint.handle(now, PEER, None, packet) {
                Some((handle, DatagramEvent::NewAssociation(association))) => {
                    self.association = Some((handle, association));
                }
                Some((handle, DatagramEvent::AssociationEvent(event))) => {
                    let (known, association) = self.association.as_mut().unwrap();
                    if *known == handle {
                        association.handle_event(event);
                    }
                }
                _ => {}
            }
        }
        let Some((_, association)) = &mut self.association else {
            return;
        };
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::AssociationLost { id, .. } => {
                    self.lost.insert(id);
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    let Ok(mut stream) = association.stream(id) else {
                        continue;
                    };
                    while let Ok(Some(chunks)) = stream.read_sctp() {
                        let data = chunks.to_payload(1 << 20).unwrap().to_vec();
                        self.received.push((id, chunks.ppi, data));
                    }
                }
                _ => {}
            }
        }
        self.transmit();
    }

    pub(super) fn transmit(&mut self) {
        let now = self.world.now;
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(transmit) = association.poll_transmit(now) {
            let Payload::RawEncode(packets) = transmit.message else {
                continue;
            };
            for packet in packets {
                self.world.client.write(now, &packet);
            }
        }
    }

    pub(super) fn association(&mut self) -> &mut Association {
        &mut self.association.as_mut().unwrap().1
    }

    pub(super) fn send(&mut self, stream: u16, data: &[u8], ppid: Ppid) {
        let now = self.world.now;
        self.association()
            .stream(stream)
            .unwrap()
            .write_with_ppi(now, data, ppid)
            .unwrap();
    }

    /// Opens a channel as a browser does.
    pub(super) fn open(&mut self, stream: u16, label: &str) {
        self.association().open_stream(stream, Ppid::Binary).unwrap();
        self.send(stream, &open_message(label, ChannelType::Reliable), Ppid::Dcep);
    }

    pub(super) fn messages(&self) -> Vec<(String, Vec<u8>, bool)> {
        let message = |event: &TransportEvent| match event {
            TransportEvent::Data { label, data, text } => Some((label.clone(), data.to_vec(), *text)),
            _ => None,
        };
        self.world.events.iter().filter_map(message).collect()
    }

    pub(super) fn send_data(&mut self, label: &str, data: &[u8], text: bool) -> Result<(), DataError> {
        let now = self.world.now;
        let sent = self
            .world
            .transport
            .send_data(now, label, data, text, &mut self.world.out);
        self.world.collect();
        sent
    }

    pub(super) fn user_messages(&self) -> Vec<&(u16, Ppid, Vec<u8>)> {
        self.received
            .iter()
            .filter(|(_, ppid, _)| *ppid != Ppid::Dcep)
            .collect()
    }
}

fn transport() -> TransportConfig {
    TransportConfig::default()
}

pub(super) fn open_message(label: &str, channel_type: ChannelType) -> BytesMut {
    let open = DataChannelOpen {
        channel_type,
        priority: 256,
        reliability_parameter: 0,
        label: label.as_bytes().to_vec(),
        protocol: Vec::new(),
    };
    Message::DataChannelOpen(open).marshal().unwrap()
}
