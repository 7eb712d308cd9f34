//! Packets in a TCP stream.

use arbitrary::Arbitrary;
use caside_media::framing::{Deframer, MAX_FRAME, prefix};

use crate::input::{Blob, Sequence};

/// A piece of a stream.
#[derive(Debug, Arbitrary)]
pub enum Piece<'a> {
    /// A packet in its frame.
    Packet(Blob<'a>),
    /// Whatever a client writes.
    Bytes(Blob<'a>),
}

/// A stream, and where it is cut: the reads' lengths, again and again.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    cuts: [u8; 8],
    pieces: Sequence<Piece<'a>>,
}

/// Reads it in pieces and as a whole, which gives the same.
pub fn run(input: &Input<'_>) {
    let mut stream = Vec::new();
    let (mut packets, mut all_framed) = (Vec::new(), true);
    for piece in input.pieces.iter() {
        match piece {
            Piece::Packet(packet) => {
                stream.extend(prefix(packet).expect("short"));
                stream.extend(packet.iter());
                packets.extend(Some(packet.to_vec()).filter(|packet| !packet.is_empty()));
            }
            Piece::Bytes(bytes) => {
                stream.extend(bytes.iter());
                all_framed = false;
            }
        }
    }
    let (whole, end) = read(&stream, &[stream.len().max(1)]);
    if all_framed {
        assert_eq!((&whole, end), (&packets, true), "packets come out as they went in");
    }
    let cuts = input.cuts.map(|cut| usize::from(cut) + 1);
    assert_eq!(read(&stream, &cuts), (whole, end), "it is all one where the stream is cut");
}

/// The packets of a stream that comes in pieces of these lengths, and whether all of it was understood.
fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let (mut deframer, mut packets) = (Deframer::default(), Vec::new());
    let (mut rest, mut cuts) = (stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let cut = cuts.next().map_or(1, |cut| (*cut).min(rest.len()));
        let (now, later) = rest.split_at(cut);
        rest = later;
        let taken = deframer.take(&mut now.to_vec(), |packet| {
            assert!((1..=MAX_FRAME).contains(&packet.len()));
            packets.push(packet.to_vec());
            true
        });
        if taken.is_err() {
            return (packets, false);
        }
        assert!(deframer.held() < MAX_FRAME + 2);
    }
    (packets, true)
}
