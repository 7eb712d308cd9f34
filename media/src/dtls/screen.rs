//! What stands between the network and rtc-dtls.
//!
//! rtc-dtls 0.21.1 keeps what unauthenticated packets bring without bounds: fragments without data are free of charge in its
//! reassembly and joined by recursion, and packets of the next epoch queue up for as long as the handshake lasts. It also takes a
//! malformed record for the end of the handshake, loses its timer when half a flight comes, and misreads a record that ends
//! one message and begins the next. So handshake messages are put together here, within bounds, and handed on whole, once, in order;
//! the rest is counted.

use std::collections::BTreeMap;

use crate::parameters::DtlsRole;

/// Bytes of a record's header (RFC 6347 §4.1).
pub(super) const RECORD_HEADER: usize = 13;

/// Bytes of a handshake message's header (RFC 6347 §4.2.2).
pub(super) const MESSAGE_HEADER: usize = 12;

const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

pub(super) const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
const SERVER_HELLO_DONE: u8 = 14;

const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// Bytes of a handshake message. A chain of three RSA-4096 certificates takes about 6 KiB.
const MAX_MESSAGE: usize = 16_000;

/// Handshake messages of one side; there are six at most.
const MAX_MESSAGES: u16 = 16;

/// Messages being put together at a time.
const MAX_PARTIAL: usize = 8;

/// Pieces that a message may be in at a time, not counting those that adjoin.
const MAX_GAPS: usize = 32;

/// Times that a repeated first ClientHello is answered.
const MAX_HELLO_REPEATS: u8 = 16;

/// ChangeCipherSpec and alert records of the handshake.
const MAX_PLAIN_RECORDS: u8 = 32;

/// Records of the next epoch while the handshake lasts: Finished, and data sent right after it.
const MAX_EARLY_RECORDS: u8 = 64;

/// Encrypted handshake records: Finished, repeated while our last flight is lost.
const MAX_FINISHED_RECORDS: u8 = 16;

/// Bytes of an encrypted Finished: 24, and the overhead of any cipher suite.
const MAX_FINISHED_LEN: usize = 128;

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted<'d> {
    /// Nothing.
    Nothing,
    /// The record goes on as it is.
    AsIs(&'d [u8]),
    /// These records go on in its place, in order.
    Rewritten(Vec<Vec<u8>>),
}

/// The state of one handshake's screening.
pub(super) struct Screen {
    role: DtlsRole,
    /// Records of epoch 0 are not authentic, and theirs are put together anew: they get numbers of ours.
    next_record: u64,
    next_message: u16,
    partial: BTreeMap<u16, Message>,
    /// Whole messages of a server's flight until its last one came.
    held: Vec<Vec<u8>>,
    hello_repeats: u8,
    plain_records: u8,
    early_records: u8,
    finished_records: u8,
}

impl Screen {
    /// `role` is ours.
    pub(super) fn new(role: DtlsRole) -> Self {
        Self {
            role,
            next_record: 0,
            next_message: 0,
            partial: BTreeMap::new(),
            held: Vec::new(),
            hello_repeats: 0,
            plain_records: 0,
            early_records: 0,
            finished_records: 0,
        }
    }

    /// Judges one record, as [`records`] yields it. `complete` tells whether the handshake is.
    pub(super) fn admit<'d>(&mut self, record: &'d [u8], complete: bool) -> Admitted<'d> {
        let (header, body) = record.split_at(RECORD_HEADER);
        let (kind, epoch) = (header[0], u16::from_be_bytes([header[3], header[4]]));
        match (epoch, kind) {
            // Plain records after the handshake are forged, or repeat what an encrypted Finished repeats too.
            (0, _) if complete => Admitted::Nothing,
            (0, HANDSHAKE) => self.admit_fragments(body),
            (0, CHANGE_CIPHER_SPEC) if body == [1] => self.admit_plain(kind, body),
            (0, ALERT) if matches!(body, [FATAL, _] | [_, CLOSE_NOTIFY]) => self.admit_plain(kind, body),
            (1, HANDSHAKE) if body.len() <= MAX_FINISHED_LEN => {
                if take_one(&mut self.finished_records, MAX_FINISHED_RECORDS) {
                    Admitted::AsIs(record)
                } else {
                    Admitted::Nothing
                }
            }
            (1, APPLICATION_DATA | ALERT) => {
                if complete || take_one(&mut self.early_records, MAX_EARLY_RECORDS) {
                    Admitted::AsIs(record)
                } else {
                    Admitted::Nothing
                }
            }
            _ => Admitted::Nothing,
        }
    }

    /// Lets as many records through again as at the start. To be called when a flight is repeated, which is seldom: what a stranger
    /// sends from the client's address then uses up one flight's share at most.
    pub(super) fn refill(&mut self) {
        (self.plain_records, self.early_records, self.finished_records) = (0, 0, 0);
    }

    fn admit_plain(&mut self, kind: u8, body: &[u8]) -> Admitted<'static> {
        if !take_one(&mut self.plain_records, MAX_PLAIN_RECORDS) {
            return Admitted::Nothing;
        }
        Admitted::Rewritten(vec![self.record(kind, &[body])])
    }

    /// Takes the fragments of a record; a malformed one ends it.
    fn admit_fragments(&mut self, mut body: &[u8]) -> Admitted<'static> {
        let mut out = Vec::new();
        while let Some((fragment, rest)) = Fragment::split(body) {
            body = rest;
            if fragment.sequence < self.next_message {
                out.extend(self.answer_repeat(&fragment));
            } else {
                self.keep(&fragment);
            }
        }
        while let Some(message) = self.next_whole() {
            out.extend(self.release(message));
        }
        if out.is_empty() {
            Admitted::Nothing
        } else {
            Admitted::Rewritten(out)
        }
    }

    /// A client that repeats its first ClientHello did not get the HelloVerifyRequest. rtc-dtls sends it again on any further
    /// handshake record, of which the header alone suffices.
    fn answer_repeat(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let unverified = self.role == DtlsRole::Server && self.next_message == 1 && fragment.offset == 0;
        if !unverified || !take_one(&mut self.hello_repeats, MAX_HELLO_REPEATS) {
            return None;
        }
        let header = message_header(CLIENT_HELLO, 0, 0);
        Some(self.record(HANDSHAKE, &[&header]))
    }

    fn keep(&mut self, fragment: &Fragment<'_>) {
        if fragment.sequence >= MAX_MESSAGES {
            return;
        }
        if !self.partial.contains_key(&fragment.sequence) && self.partial.len() >= MAX_PARTIAL {
            return;
        }
        self.partial
            .entry(fragment.sequence)
            .or_insert_with(|| Message::new(fragment))
            .add(fragment);
    }

    fn next_whole(&mut self) -> Option<Vec<u8>> {
        let entry = self.partial.first_entry()?;
        if *entry.key() != self.next_message || !entry.get().is_whole() {
            return None;
        }
        let (sequence, message) = entry.remove_entry();
        self.next_message += 1;
        let header = message_header(message.kind, message.data.len(), sequence);
        Some(self.record(HANDSHAKE, &[&header, &message.data]))
    }

    /// A client goes through the repetitions itself. As one we have to keep rtc-dtls's timer alive, which half a flight stops.
    fn release(&mut self, record: Vec<u8>) -> Vec<Vec<u8>> {
        if self.role == DtlsRole::Server {
            return vec![record];
        }
        let last = matches!(record[RECORD_HEADER], HELLO_VERIFY_REQUEST | SERVER_HELLO_DONE);
        self.held.push(record);
        if last {
            std::mem::take(&mut self.held)
        } else {
            Vec::new()
        }
    }

    fn record(&mut self, kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut record = Vec::with_capacity(RECORD_HEADER + len);
        record.push(kind);
        record.extend(VERSION_1_2);
        // Epoch 0 in the two upper bytes: 48 bits are never counted through.
        record.extend(self.next_record.to_be_bytes());
        record.extend((len as u16).to_be_bytes());
        parts.iter().for_each(|part| record.extend_from_slice(part));
        self.next_record += 1;
        record
    }
}

/// The records of a datagram. A malformed one, or one of another protocol, ends it (RFC 6347 §4.1.2.7).
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = datagram.get(..RECORD_HEADER)?;
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if header[1] != 0xfe || !matches!(header[2], 0xff | 0xfd) || len == 0 {
            return None;
        }
        let (record, rest) = datagram.split_at_checked(RECORD_HEADER + len)?;
        datagram = rest;
        Some(record)
    })
}

/// Counts up to a limit.
fn take_one(count: &mut u8, limit: u8) -> bool {
    let within = *count < limit;
    *count += u8::from(within);
    within
}

fn message_header(kind: u8, len: usize, sequence: u16) -> [u8; MESSAGE_HEADER] {
    let mut header = [0; MESSAGE_HEADER];
    let len = &(len as u32).to_be_bytes()[1..];
    header[0] = kind;
    header[1..4].copy_from_slice(len);
    header[4..6].copy_from_slice(&sequence.to_be_bytes());
    header[9..].copy_from_slice(len);
    header
}

/// A piece of a handshake message (RFC 6347 §4.2.3), its lengths consistent and bounded.
struct Fragment<'d> {
    kind: u8,
    len: usize,
    sequence: u16,
    offset: usize,
    data: &'d [u8],
}

impl<'d> Fragment<'d> {
    fn split(body: &'d [u8]) -> Option<(Self, &'d [u8])> {
        let (header, rest) = body.split_at_checked(MESSAGE_HEADER)?;
        let u24 = |at: usize| {
            (usize::from(header[at]) << 16) | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2])
        };
        let (len, offset, fragment_len) = (u24(1), u24(6), u24(9));
        if len > MAX_MESSAGE || offset + fragment_len > len || (fragment_len == 0 && len > 0) {
            return None;
        }
        let (data, rest) = rest.split_at_checked(fragment_len)?;
        let sequence = u16::from_be_bytes([header[4], header[5]]);
        Some((
            Self {
                kind: header[0],
                len,
                sequence,
                offset,
                data,
            },
            rest,
        ))
    }
}

/// A handshake message being put together.
struct Message {
    kind: u8,
    data: Vec<u8>,
    /// Ranges that came, in order, none adjoining another.
    have: Vec<(usize, usize)>,
}

impl Message {
    fn new(fragment: &Fragment<'_>) -> Self {
        Self {
            kind: fragment.kind,
            data: vec![0; fragment.len],
            have: Vec::new(),
        }
    }

    fn add(&mut self, fragment: &Fragment<'_>) {
        if fragment.kind != self.kind || fragment.len != self.data.len() {
            return;
        }
        let (mut start, mut end) = (fragment.offset, fragment.offset + fragment.data.len());
        let adjoining = |&(from, to): &(usize, usize)| from <= end && start <= to;
        if self.have.len() >= MAX_GAPS && !self.have.iter().any(adjoining) {
            // The lowest stay, so that an orderly repetition always gets through.
            if self.have.last().is_some_and(|&(from, _)| from < start) {
                return;
            }
            self.have.pop();
        }
        self.data[start..end].copy_from_slice(fragment.data);
        self.have.retain(|&(from, to)| {
            let adjoins = from <= end && start <= to;
            if adjoins {
                start = start.min(from);
                end = end.max(to);
            }
            !adjoins
        });
        let at = self.have.partition_point(|&(from, _)| from < start);
        self.have.insert(at, (start, end));
    }

    fn is_whole(&self) -> bool {
        self.have == [(0, self.data.len())]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(kind: u8, len: usize, sequence: u16, offset: usize, data: &[u8]) -> Vec<u8> {
        let mut bytes = message_header(kind, len, sequence).to_vec();
        bytes[6..9].copy_from_slice(&(offset as u32).to_be_bytes()[1..]);
        bytes[9..12].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        bytes.extend(data);
        bytes
    }

    fn record(epoch: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0xfe, 0xfd];
        bytes.extend(epoch.to_be_bytes());
        bytes.extend([0; 6]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn rewritten(admitted: Admitted<'_>) -> Vec<Vec<u8>> {
        match admitted {
            Admitted::Rewritten(records) => records,
            Admitted::Nothing => Vec::new(),
            Admitted::AsIs(_) => panic!("a handshake record of epoch 0 was passed as it is"),
        }
    }

    proptest! {
        /// Whatever the cuts, order, repetitions and packing: each message comes out once, whole, in order.
        #[test]
        fn messages_come_out_once_whole_in_order(
            sizes in proptest::collection::vec(0usize..600, 1..6),
            cut in 1usize..200,
            packed in 1usize..4,
            shuffle in any::<u64>(),
        ) {
            let messages: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(i, size)| (0..*size).map(|b| (b * 7 + i) as u8).collect()).collect();
            let mut fragments = Vec::new();
            for (sequence, message) in messages.iter().enumerate() {
                let mut offset = 0;
                loop {
                    let end = (offset + cut).min(message.len());
                    fragments.push(fragment(20, message.len(), sequence as u16, offset, &message[offset..end]));
                    offset = end;
                    if offset == message.len() { break }
                }
            }
            let twice: Vec<Vec<u8>> = fragments.iter().chain(&fragments).cloned().collect();
            let mut order: Vec<usize> = (0..twice.len()).collect();
            order.sort_by_key(|i| (*i as u64 + 1).wrapping_mul(shuffle | 1).rotate_left(17));

            // Repetitions of message 0 may be answered with a bare header, which carries no message.
            let mut screen = Screen::new(DtlsRole::Server);
            let mut out = Vec::new();
            // A message cut into very many pieces may need the repetition, in order, to come through.
            for chunk in order.chunks(packed).map(<[usize]>::to_vec).chain((0..twice.len()).map(|i| vec![i])) {
                let body: Vec<u8> = chunk.iter().flat_map(|i| twice[*i].clone()).collect();
                for whole in rewritten(screen.admit(&record(0, HANDSHAKE, &body), false)) {
                    let body = &whole[RECORD_HEADER..];
                    if body[0] == CLIENT_HELLO { continue }
                    prop_assert_eq!(u16::from_be_bytes([body[4], body[5]]) as usize, out.len());
                    out.push(body[MESSAGE_HEADER..].to_vec());
                }
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn never_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let mut screen = Screen::new(DtlsRole::Client);
            for body in &datagrams {
                let plain = record(0, HANDSHAKE, body);
                for datagram in [body, &plain] {
                    for record in records(datagram) {
                        let _ = screen.admit(record, false);
                    }
                }
            }
        }
    }

    #[test]
    fn fragments_without_data_are_kept_nowhere() {
        let mut screen = Screen::new(DtlsRole::Server);
        for offset in 0..1000 {
            assert_eq!(
                screen.admit(&record(0, HANDSHAKE, &fragment(1, 2000, 0, offset, &[])), false),
                Admitted::Nothing
            );
        }
        assert!(screen.partial.is_empty());
    }

    #[test]
    fn early_and_plain_records_are_bounded() {
        let mut screen = Screen::new(DtlsRole::Server);
        let mut count = |epoch, kind, body: &[u8]| {
            let record = record(epoch, kind, body);
            (0..1000)
                .filter(|_| screen.admit(&record, false) != Admitted::Nothing)
                .count()
        };
        assert_eq!(count(1, APPLICATION_DATA, &[0; 40]), usize::from(MAX_EARLY_RECORDS));
        assert_eq!(count(1, HANDSHAKE, &[0; 40]), usize::from(MAX_FINISHED_RECORDS));
        assert_eq!(count(1, HANDSHAKE, &[0; 129]), 0);
        assert_eq!(count(0, CHANGE_CIPHER_SPEC, &[1]), usize::from(MAX_PLAIN_RECORDS));
        assert_eq!(count(0, APPLICATION_DATA, &[0; 40]), 0);
        assert_eq!(count(2, APPLICATION_DATA, &[0; 40]), 0);
    }

    #[test]
    fn as_client_a_flight_is_held_until_it_is_whole() {
        let mut screen = Screen::new(DtlsRole::Client);
        let mut admit = |kind, sequence| {
            let body = fragment(kind, 3, sequence, 0, &[1, 2, 3]);
            rewritten(screen.admit(&record(0, HANDSHAKE, &body), false)).len()
        };
        assert_eq!(admit(HELLO_VERIFY_REQUEST, 0), 1);
        assert_eq!(admit(2, 1), 0);
        assert_eq!(admit(11, 2), 0);
        assert_eq!(admit(2, 1), 0);
        assert_eq!(admit(SERVER_HELLO_DONE, 3), 3);
    }
}
