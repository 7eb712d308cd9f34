//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

/// Packets that one message reports at most.
pub const MAX_STATUSES: usize = 256;

/// The largest encoding: header, chunks of 7 statuses, deltas of 2 bytes, and up to 3 bytes to fill the last word.
pub const MAX_ENCODED: usize = 8 + MAX_STATUSES.div_ceil(7) * 2 + MAX_STATUSES * 2 + 3;

/// Arrival deltas are counted in units of this many microseconds.
pub const TICK_US: u128 = 250;

/// The reference time is counted in units of this many ticks (64 ms).
const REFERENCE_TICKS: i64 = 256;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// A feedback message that is well formed.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'p> {
    base: u16,
    count: u16,
    reference: u32,
    chunks: &'p [u8],
    deltas: &'p [u8],
}

impl<'p> Feedback<'p> {
    /// Reads what follows the SSRCs. `None` when it is cut off.
    pub fn parse(body: &'p [u8]) -> Option<Self> {
        let (&[b0, b1, c0, c1, r0, r1, r2, _], rest) = body.split_first_chunk::<8>()?;
        let count = u16::from_be_bytes([c0, c1]);
        let (mut statuses, mut chunk_bytes, mut delta_bytes) = (0u32, 0usize, 0usize);
        while statuses < u32::from(count) {
            let chunk = rest.get(chunk_bytes..)?.first_chunk::<2>()?;
            chunk_bytes += 2;
            let chunk = Chunk(u16::from_be_bytes(*chunk));
            let taken = chunk.len().min(u32::from(count) - statuses);
            delta_bytes += chunk.delta_bytes(taken);
            statuses += taken;
        }
        let (chunks, rest) = rest.split_at_checked(chunk_bytes)?;
        Some(Self {
            base: u16::from_be_bytes([b0, b1]),
            count,
            reference: u32::from_be_bytes([0, r0, r1, r2]),
            chunks,
            deltas: rest.get(..delta_bytes)?,
        })
    }

    /// The number of the first packet it tells of.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// How many packets it tells of.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The time that arrivals are counted from, in units of 64 ms of the receiver's clock, modulo 2^24.
    pub fn reference(&self) -> u32 {
        self.reference
    }

    /// The arrival of each packet in ticks of [`TICK_US`] from the reference time; `None` for one that did not come.
    pub fn statuses(&self) -> impl Iterator<Item = Option<i64>> + use<'p> {
        let chunks = self.chunks.as_chunks::<2>().0.iter();
        let symbols = chunks.flat_map(|chunk| {
            let chunk = Chunk(u16::from_be_bytes(*chunk));
            (0..chunk.len()).map(move |index| chunk.symbol(index))
        });
        let (mut deltas, mut at) = (self.deltas, 0i64);
        symbols.take(usize::from(self.count)).map(move |symbol| {
            let delta = match symbol {
                SMALL_DELTA => {
                    let (delta, rest) = deltas.split_first()?;
                    deltas = rest;
                    i64::from(*delta)
                }
                LARGE_DELTA => {
                    let (delta, rest) = deltas.split_first_chunk::<2>()?;
                    deltas = rest;
                    i64::from(i16::from_be_bytes(*delta))
                }
                _ => return None,
            };
            at += delta;
            Some(at)
        })
    }
}

/// A packet status chunk (§3.1.3, §3.1.4).
#[derive(Debug, Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    /// How many statuses it holds.
    fn len(self) -> u32 {
        match self.0 >> 14 {
            0 | 1 => u32::from(self.0 & 0x1fff),
            2 => 14,
            _ => 7,
        }
    }

    /// A status, `index` below [`len`](Self::len).
    fn symbol(self, index: u32) -> u8 {
        match self.0 >> 14 {
            0 | 1 => (self.0 >> 13) as u8 & 3,
            2 => (self.0 >> (13 - index)) as u8 & 1,
            _ => (self.0 >> (12 - 2 * index)) as u8 & 3,
        }
    }

    /// The bytes of the deltas of its first `count` statuses.
    fn delta_bytes(self, count: u32) -> usize {
        let bytes = |symbol| match symbol {
            SMALL_DELTA => 1,
            LARGE_DELTA => 2,
            _ => 0,
        };
        if self.0 >> 15 == 0 {
            return bytes(self.symbol(0)) * count as usize;
        }
        (0..count).map(|index| bytes(self.symbol(index))).sum()
    }
}

/// Encodes what follows the SSRCs: arrivals of the packets `base`, `base + 1`, … in ticks, `None` for those that did not come.
///
/// Returns the bytes written to `out` and how many packets they report: fewer than were given when a delta does not fit 16
/// bits. No bytes when none of the reported packets came.
pub fn encode(
    out: &mut [u8; MAX_ENCODED],
    base: u16,
    feedback_count: u8,
    arrivals: impl Iterator<Item = Option<i64>>,
) -> (usize, usize) {
    let mut symbols = [NOT_RECEIVED; MAX_STATUSES];
    let mut deltas = [0i16; MAX_STATUSES];
    let mut count = 0;
    // The reference time, once a packet was received, and the time of the one before.
    let mut times: Option<(i64, i64)> = None;
    for arrival in arrivals.take(MAX_STATUSES) {
        if let Some(at) = arrival {
            let (reference, before) = times.unwrap_or_else(|| {
                let reference = at.div_euclid(REFERENCE_TICKS);
                (reference, reference * REFERENCE_TICKS)
            });
            let Ok(delta) = i16::try_from(at - before) else { break };
            symbols[count] = if (0..=255).contains(&delta) {
                SMALL_DELTA
            } else {
                LARGE_DELTA
            };
            deltas[count] = delta;
            times = Some((reference, at));
        }
        count += 1;
    }
    let Some((reference, _)) = times else { return (0, count) };
    let symbols = &symbols[..count];

    let mut cursor = Cursor { out, len: 0 };
    cursor.put(&base.to_be_bytes());
    cursor.put(&(count as u16).to_be_bytes());
    // 24 bits of a signed count of 64 ms.
    cursor.put(&(reference as u32).to_be_bytes()[1..]);
    cursor.put(&[feedback_count]);
    write_chunks(&mut cursor, symbols);
    for (symbol, delta) in symbols.iter().zip(deltas) {
        match *symbol {
            SMALL_DELTA => cursor.put(&[delta as u8]),
            LARGE_DELTA => cursor.put(&delta.to_be_bytes()),
            _ => {}
        }
    }
    while !cursor.len.is_multiple_of(4) {
        cursor.put(&[0]);
    }
    (cursor.len, count)
}

/// Run lengths where they pay, else vectors of 14 one-bit or 7 two-bit symbols (§3.1.3, §3.1.4).
fn write_chunks(cursor: &mut Cursor<'_>, mut symbols: &[u8]) {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|symbol| **symbol == first).count();
        let next_14 = &symbols[..symbols.len().min(14)];
        let (chunk, taken) = if run >= 14 || run == symbols.len() {
            (u16::from(first) << 13 | run as u16, run)
        } else if next_14.iter().all(|symbol| *symbol != LARGE_DELTA) {
            let bits = next_14
                .iter()
                .enumerate()
                .map(|(i, symbol)| u16::from(*symbol) << (13 - i))
                .sum::<u16>();
            (0x8000 | bits, next_14.len())
        } else {
            let next_7 = &symbols[..symbols.len().min(7)];
            let bits = next_7
                .iter()
                .enumerate()
                .map(|(i, symbol)| u16::from(*symbol) << (12 - 2 * i))
                .sum::<u16>();
            (0xc000 | bits, next_7.len())
        };
        cursor.put(&chunk.to_be_bytes());
        symbols = &symbols[taken..];
    }
}

struct Cursor<'b> {
    out: &'b mut [u8; MAX_ENCODED],
    len: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};

    use super::*;
    use crate::parameters::Ssrc;
    use crate::rtcp::RtcpWriter;

    /// Reads the feedback back with another implementation: the arrival in ticks of each packet.
    fn decode(body: &[u8]) -> (u16, Vec<Option<i64>>) {
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        assert!(writer.transport_cc(Ssrc(1), Ssrc(2), body));
        let len = writer.len();
        let packets = rtc_rtcp::packet::unmarshal(&mut &buffer[..len]).expect("valid RTCP");
        let feedback = packets[0]
            .as_any()
            .downcast_ref::<TransportLayerCc>()
            .expect("transport-wide feedback");
        let symbols = feedback.packet_chunks.iter().flat_map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(run) => vec![run.packet_status_symbol; usize::from(run.run_length)],
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
        });
        // Reference times are 24 bits, signed.
        let mut at = i64::from((feedback.reference_time << 8) as i32 >> 8) * REFERENCE_TICKS;
        let mut deltas = feedback.recv_deltas.iter();
        let arrivals = symbols
            .take(usize::from(feedback.packet_status_count))
            .map(|symbol| match symbol {
                SymbolTypeTcc::PacketReceivedSmallDelta | SymbolTypeTcc::PacketReceivedLargeDelta => {
                    at += deltas.next().expect("a delta for each received packet").delta / TICK_US as i64;
                    Some(at)
                }
                _ => None,
            });
        (feedback.base_sequence_number, arrivals.collect())
    }

    /// Ours reads the same.
    fn decode_ourselves(body: &[u8]) -> (u16, Vec<Option<i64>>) {
        let feedback = Feedback::parse(body).expect("well formed");
        let reference = i64::from((feedback.reference() << 8) as i32 >> 8) * REFERENCE_TICKS;
        let arrivals = feedback.statuses().map(|at| at.map(|at| at + reference));
        (feedback.base(), arrivals.collect())
    }

    fn check(arrivals: &[Option<i64>]) {
        let mut rest = arrivals;
        let mut base = 65_530u16;
        while !rest.is_empty() {
            let mut out = [0; MAX_ENCODED];
            let (len, taken) = encode(&mut out, base, 7, rest.iter().copied());
            assert!(taken > 0, "each message reports something");
            if len == 0 {
                assert!(rest[..taken].iter().all(Option::is_none));
            } else {
                assert_eq!(decode(&out[..len]), (base, rest[..taken].to_vec()));
                assert_eq!(decode_ourselves(&out[..len]), (base, rest[..taken].to_vec()));
            }
            base = base.wrapping_add(taken as u16);
            rest = &rest[taken..];
        }
    }

    #[test]
    fn runs_vectors_and_jumps() {
        check(&[Some(1000)]);
        check(&[None, None, Some(5)]);
        check(&vec![Some(77_777); 300]);
        check(&(0..40).map(|i| (i % 3 != 0).then_some(i * 20)).collect::<Vec<_>>());
        check(&(0..40).map(|i| (i % 5 != 0).then_some(i * 300)).collect::<Vec<_>>());
        check(&[Some(1000), Some(10), Some(40_000_000), None, Some(40_000_001)]);
    }

    #[test]
    fn a_run_of_nothing_does_not_go_on_for_ever() {
        // Ten chunks of empty runs, of which the count wants one status.
        let body = [&[0, 1, 0, 1, 0, 0, 0, 0][..], &[0; 20]].concat();
        assert!(Feedback::parse(&body).is_none());
        let all_lost = [0, 1, 0xff, 0xff, 0, 0, 0, 0, 0x1f, 0xff];
        assert!(Feedback::parse(&all_lost).is_none(), "the chunks do not suffice");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(feedback) = Feedback::parse(&bytes) {
                prop_assert_eq!(feedback.statuses().count(), usize::from(feedback.count()));
            }
        }

        #[test]
        fn another_implementation_reads_it(
            steps in proptest::collection::vec((proptest::option::weighted(0.8, -50i64..2000), any::<bool>()), 1..600)
        ) {
            let mut at = 1_000_000;
            let arrivals: Vec<_> = steps
                .into_iter()
                .map(|(step, jump)| step.map(|step| { at += if jump { step } else { step.min(30) }; at }))
                .collect();
            check(&arrivals);
        }
    }
}
