//! DTLS that was not asked for: on a path that has its keys, and on paths whose handshake never ends.

use anyhow::{Context, Result};

use super::attack::Attack;
use super::dice::Dice;
use super::intruder::Intruder;
use super::pipe::{Line, Pipe};
use crate::light::dtls::{Handshake, Identity};
use crate::light::now;

/// Datagrams of one volley.
const VOLLEY: u64 = 64;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Begins the handshake anew on a secured connection, and says in the clear that it ends.
pub(super) struct Renegotiation {
    intruder: Intruder,
    hello: Vec<u8>,
    dice: Dice,
}

impl Renegotiation {
    pub(super) fn new(intruder: Intruder, identity: &Identity) -> Result<Self> {
        let hello = Handshake::begin(now(), identity)?.transmit();
        Ok(Self {
            intruder,
            hello: hello.context("a handshake that says nothing")?.to_vec(),
            dice: Dice::new(31),
        })
    }
}

impl Attack for Renegotiation {
    fn volley(&mut self) -> Result<u64> {
        let Intruder { publish, subscribe } = &mut self.intruder;
        publish.tend()?;
        subscribe.tend()?;
        for _ in 0..VOLLEY {
            let datagram = match self.dice.below(4) {
                0 => self.hello.clone(),
                // A later message in the clear, and what claims to be encrypted.
                1 => record(HANDSHAKE, self.dice.next() as u16 & 1, &self.dice.bytes(12, 800)),
                2 => record(ALERT, self.dice.next() as u16 & 1, &[2, self.dice.next() as u8]),
                _ => {
                    let kind = if self.dice.below(2) == 0 {
                        APPLICATION_DATA
                    } else {
                        CHANGE_CIPHER_SPEC
                    };
                    record(kind, self.dice.next() as u16 & 1, &self.dice.bytes(1, 800))
                }
            };
            let pipe: &Pipe = if self.dice.below(2) == 0 { publish } else { subscribe };
            pipe.line.send(&datagram, datagram.len())?;
        }
        Ok(VOLLEY)
    }
}

/// Pieces of handshake messages that never become whole, on many paths.
pub(super) struct Fragments {
    lines: Vec<Line>,
    dice: Dice,
}

impl Fragments {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        Self {
            lines,
            dice: Dice::new(37),
        }
    }
}

impl Attack for Fragments {
    fn volley(&mut self) -> Result<u64> {
        for _ in 0..VOLLEY {
            let which = self.dice.below(self.lines.len());
            let Some(line) = self.lines.get_mut(which) else {
                return Ok(0);
            };
            line.renew()?;
            let total = 1 + self.dice.below(16_000) as u32;
            let sequence = self.dice.below(16) as u16;
            let mut body = Vec::new();
            // Pieces of no bytes at all are in it too.
            for _ in 0..1 + self.dice.below(20) {
                let offset = self.dice.below(total as usize) as u32;
                let len = (self.dice.below(60) as u32).min(total - offset);
                body.push(1 + (sequence as u8 & 15));
                body.extend(&total.to_be_bytes()[1..]);
                body.extend(sequence.to_be_bytes());
                body.extend(&offset.to_be_bytes()[1..]);
                body.extend(&len.to_be_bytes()[1..]);
                body.extend(self.dice.bytes(len as usize, len as usize));
            }
            let datagram = record(HANDSHAKE, 0, &body);
            line.send(&datagram, datagram.len())?;
        }
        Ok(VOLLEY)
    }
}

/// A record with a number that was hardly used (RFC 6347 §4.1).
fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd];
    record.extend(epoch.to_be_bytes());
    record.extend([0, 0, 0, 9, body.first().copied().unwrap_or_default(), 1]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}
