//! STUN from anybody: what proves nothing makes no state, and what proves something makes bounded state.

use std::time::Duration;

use arbitrary::Arbitrary;
use caside_media::ice::{MAX_PATHS, stun_ufrag};
use caside_media::send_buffer::SendBuffer;
use caside_media::transport::{Received, Transport};

use crate::input::{Blob, Sequence, Text};
use crate::peer::{Check, ICE_CONTROLLED};
use crate::setting::{config, credentials, path, start};

/// An answer is no longer than this, so that nobody is flooded in somebody's name.
const LARGEST_ANSWER: usize = 128;

/// What arrives.
#[derive(Debug, Arbitrary)]
enum Arrival<'a> {
    /// Anything.
    Raw { port: u8, datagram: Blob<'a> },
    /// A check that is signed with the right password, changed at some places afterwards.
    Check {
        port: u8,
        user: User<'a>,
        nominate: bool,
        controlled: bool,
        priority: u32,
        attributes: Vec<(u16, Blob<'a>)>,
        changes: Vec<(u8, u8)>,
    },
    /// Time passes.
    Wait { ms: u16 },
}

#[derive(Debug, Arbitrary)]
enum User<'a> {
    Right,
    Wrong(Text<'a>),
}

/// What arrives at a new transport.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    connected: bool,
    arrivals: Sequence<Arrival<'a>>,
}

/// Lets it arrive.
pub fn run(input: &Input<'_>) {
    let (local, remote) = (credentials("ours"), credentials("theirs"));
    let (mut now, mut out) = (start(), SendBuffer::default());
    let mut transport = Transport::new(now, config(), local.clone());
    if input.connected {
        let dtls = crate::transport::expected();
        transport.connect(now, None, Some(remote.clone()), dtls, &mut out);
    }
    let mut right_checks = 0;
    for arrival in input.arrivals.iter().take(256) {
        out.clear();
        let (port, mut datagram, proven) = match arrival {
            Arrival::Wait { ms } => {
                now += Duration::from_millis(u64::from(*ms) * 10);
                transport.handle_timeout(now, &mut out);
                assert!(
                    transport.poll_timeout().is_none_or(|at| at > now),
                    "a timer that stays due would spin"
                );
                continue;
            }
            Arrival::Raw { port, datagram } => (*port, datagram.to_vec(), false),
            Arrival::Check {
                port,
                user,
                nominate,
                controlled,
                priority,
                attributes,
                changes,
            } => {
                let mut check = Check::new(&local, &remote);
                (check.nominate, check.priority) = (*nominate, *priority);
                if *controlled {
                    check.role = ICE_CONTROLLED;
                }
                if let User::Wrong(name) = user {
                    check.username = name.chars().take(200).collect();
                }
                check.extra = attributes
                    .iter()
                    .take(8)
                    .map(|(kind, value)| (*kind, value[..value.len().min(100)].to_vec()))
                    .collect();
                let mut datagram = check.datagram();
                for (at, xor) in changes {
                    if let Some(byte) = datagram.get_mut(usize::from(*at)) {
                        *byte ^= xor;
                    }
                }
                (*port, datagram, true)
            }
        };
        let found = stun_ufrag(&datagram).map(str::to_owned);
        let length = datagram.len();
        let received = transport.receive(now, path(port), &mut datagram, &mut out);
        assert!(
            matches!(received, Received::Nothing | Received::Check),
            "there are no keys yet"
        );
        right_checks += usize::from(proven);
        assert!(
            transport.path_count() <= right_checks.min(MAX_PATHS),
            "a path without a proof"
        );
        assert!(!transport.is_secured());
        for (to, answer) in out.iter().filter(|(_, answer)| answer[0] < 4) {
            assert_eq!(to, path(port), "answered elsewhere");
            assert!(
                answer.len() <= LARGEST_ANSWER && length >= 20,
                "{} bytes for {length}",
                answer.len()
            );
        }
        assert!(out.datagrams().len() <= 1, "one answer a check");
        assert!(found.is_none_or(|ufrag| ufrag.len() <= 512));
    }
}

/// Only finds the transport.
pub fn ufrag(datagram: &[u8]) {
    stun_ufrag(datagram);
}
