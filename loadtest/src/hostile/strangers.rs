//! Datagrams of nobody: each from an address that was never seen before.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use caside_media::parameters::IceCredentials;

use super::attack::{Attack, Gun};
use super::dice::Dice;
use crate::light::dtls::{Handshake, Identity};
use crate::light::{now, stun};

/// Datagrams of one volley.
const VOLLEY: u64 = 64;

/// The first of their addresses; the clients of the call have those below.
const FIRST_ADDRESS: u32 = 0x7f80_0000;

/// How many addresses they have.
const ADDRESSES: u32 = 0x007f_0000;

/// What strangers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pretence {
    /// Random bytes.
    Noise,
    /// STUN Binding requests for nobody.
    UnknownUfrag,
    /// STUN Binding requests for a transport that there is, signed with another password.
    WrongIntegrity,
    /// DTLS ClientHellos.
    ClientHello,
    /// What begins as RTP and RTCP do.
    Media,
}

/// Many addresses that send the same kind of thing.
pub(super) struct Strangers {
    gun: Gun,
    pretence: Pretence,
    dice: Dice,
    next: u32,
    /// The datagrams to choose from.
    stock: Vec<Vec<u8>>,
}

impl Strangers {
    /// `victim` are the node's credentials of a transport that there is.
    pub(super) fn new(
        target: SocketAddrV4,
        pretence: Pretence,
        victim: &IceCredentials,
        identity: &Identity,
    ) -> Result<Self> {
        let mut strangers = Self {
            gun: Gun::aim(target)?,
            pretence,
            dice: Dice::new(pretence as u64 + 1),
            // Each kind goes on elsewhere.
            next: (pretence as u32) * (ADDRESSES / 5),
            stock: Vec::new(),
        };
        strangers.stock = (0..256)
            .map(|_| strangers.datagram(victim, identity))
            .collect::<Result<_>>()?;
        Ok(strangers)
    }

    fn datagram(&mut self, victim: &IceCredentials, identity: &Identity) -> Result<Vec<u8>> {
        match self.pretence {
            Pretence::Noise => Ok(self.dice.bytes(1, 1200)),
            Pretence::UnknownUfrag => {
                stun::write_check(&IceCredentials::random(), &IceCredentials::random(), stun::NOMINATES)
            }
            Pretence::WrongIntegrity => {
                let forged = IceCredentials {
                    ufrag: victim.ufrag.clone(),
                    ..IceCredentials::random()
                };
                stun::write_check(&IceCredentials::random(), &forged, stun::NOMINATES)
            }
            Pretence::ClientHello => {
                let hello = Handshake::begin(now(), identity)?.transmit();
                Ok(hello.context("a handshake that says nothing")?.to_vec())
            }
            Pretence::Media => {
                let mut packet = self.dice.bytes(24, 1200);
                packet[0] = 0x80;
                // One in two is RTCP.
                packet[1] = if packet[1] & 1 == 0 { 96 } else { 200 + packet[1] % 8 };
                Ok(packet)
            }
        }
    }
}

impl Attack for Strangers {
    fn volley(&mut self) -> Result<u64> {
        for _ in 0..VOLLEY {
            self.next = (self.next + 1) % ADDRESSES;
            let pick = self.dice.below(self.stock.len());
            self.gun
                .fire(Ipv4Addr::from(FIRST_ADDRESS + self.next), &self.stock[pick])?;
        }
        Ok(VOLLEY)
    }
}
