//! Checks of an intruder, all of them valid: too many, from too many places, and from a place that is another's.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::attack::Attack;
use super::dice::Dice;
use super::intruder::Intruder;
use crate::light::{Light, stun};

/// Checks of one volley.
const VOLLEY: u64 = 32;

/// Networks in which nobody else is: 127.127.0.0/16.
const PLACES: u32 = 0x7f7f_0000;

/// Nominates one path and the other in turn, from ever more places, with roles that do not fit.
pub(super) struct Flapping {
    intruder: Intruder,
    dice: Dice,
}

impl Flapping {
    pub(super) fn new(intruder: Intruder) -> Self {
        Self {
            intruder,
            dice: Dice::new(41),
        }
    }
}

impl Attack for Flapping {
    fn volley(&mut self) -> Result<u64> {
        let Intruder { publish, subscribe } = &mut self.intruder;
        publish.tend()?;
        subscribe.tend()?;
        for _ in 0..VOLLEY {
            let roll = self.dice.next();
            let line = if roll & 1 == 0 { &publish.line } else { &subscribe.line };
            let from = match roll >> 1 & 3 {
                0 => line.from,
                1 => Ipv4Addr::from(PLACES | 1),
                _ => Ipv4Addr::from(PLACES | (roll >> 8) as u32 & 0xffff),
            };
            let check = stun::Check {
                nominates: roll & 8 != 0,
                controlled: roll & 48 == 0,
                priority: (roll >> 32) as u32,
            };
            line.check(check, from)?;
        }
        Ok(VOLLEY)
    }
}

/// Checks with the intruder's credentials that come from the addresses of the call's own clients.
pub(super) struct Impostor {
    intruder: Intruder,
    light: Light,
    /// The clients whose addresses are forged.
    clients: usize,
    next: usize,
}

impl Impostor {
    pub(super) fn new(intruder: Intruder, light: Light, clients: usize) -> Self {
        Self {
            intruder,
            light,
            clients,
            next: 0,
        }
    }
}

impl Attack for Impostor {
    fn volley(&mut self) -> Result<u64> {
        let Intruder { publish, subscribe } = &mut self.intruder;
        publish.tend()?;
        subscribe.tend()?;
        let line = &publish.line;
        let check = stun::write_check(&line.local, &line.remote, stun::NOMINATES)?;
        self.light.forge(self.next % self.clients.max(1), check)?;
        self.next += 1;
        // The thread that sends them has the call to carry too.
        std::thread::sleep(std::time::Duration::from_millis(2));
        Ok(1)
    }
}
