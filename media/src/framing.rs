//! Packets in a byte stream (RFC 4571): each after its length, 16 bits in network order.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// The longest packet that is taken, in bytes. More than a path's MTU can bear has no use: what comes in is forwarded as
/// datagrams.
pub const MAX_FRAME: usize = 2048;

/// Bytes of a frame's length.
const PREFIX: usize = 2;

/// A frame is longer than [`MAX_FRAME`]: what follows cannot be trusted to be frames at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame is longer than {MAX_FRAME} bytes")]
pub struct FrameTooLong;

/// What stands before a packet in the stream; `None` when it is too long to have one.
pub fn prefix(packet: &[u8]) -> Option<[u8; PREFIX]> {
    u16::try_from(packet.len()).ok().map(u16::to_be_bytes)
}

/// Takes a stream apart into packets. Holds at most one unfinished frame.
#[derive(Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Bytes of the unfinished frame that are held; fewer than [`MAX_FRAME`] and its prefix.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next bytes of the stream and hands over each packet that they complete, until `take` returns `false`.
    /// Empty packets are passed over (RFC 4571 §2).
    ///
    /// # Errors
    /// [`FrameTooLong`]: nothing more of this stream can be understood.
    pub fn take(&mut self, mut bytes: &mut [u8], mut take: impl FnMut(&mut [u8]) -> bool) -> Result<(), FrameTooLong> {
        while !self.partial.is_empty() {
            let missing = match frame_len(&self.partial)? {
                Some(len) => len - self.partial.len(),
                None => PREFIX - self.partial.len(),
            };
            if missing > bytes.len() {
                break;
            }
            let (head, rest) = bytes.split_at_mut(missing);
            self.partial.extend_from_slice(head);
            bytes = rest;
            if frame_len(&self.partial)? == Some(self.partial.len()) {
                let go_on = hand_over(&mut self.partial, &mut take);
                self.partial.clear();
                if !go_on {
                    return Ok(());
                }
            }
        }
        if self.partial.is_empty() {
            while let Some(len) = frame_len(bytes)?.filter(|len| *len <= bytes.len()) {
                let (frame, rest) = bytes.split_at_mut(len);
                bytes = rest;
                if !hand_over(frame, &mut take) {
                    return Ok(());
                }
            }
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// Hands over the packet of a whole frame.
fn hand_over(frame: &mut [u8], take: &mut impl FnMut(&mut [u8]) -> bool) -> bool {
    match frame.get_mut(PREFIX..) {
        Some(packet) if !packet.is_empty() => take(packet),
        _ => true,
    }
}

/// Bytes of the frame that begins here, with its prefix; `None` while the prefix is not complete.
fn frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameTooLong> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes(*prefix));
    if len > MAX_FRAME {
        return Err(FrameTooLong);
    }
    Ok(Some(PREFIX + len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        let frame = |packet: &Vec<u8>| [&prefix(packet).unwrap()[..], packet].concat();
        packets.iter().flat_map(frame).collect()
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_the_stream_is_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..MAX_FRAME + 1), 0..6),
            cuts in prop::collection::vec(1usize..3000, 1..40),
        ) {
            let mut stream = framed(&packets);
            let mut rest = &mut stream[..];
            let mut cuts = cuts.iter().cycle();
            let (mut deframer, mut got) = (Deframer::default(), Vec::new());
            while !rest.is_empty() {
                let cut = (*cuts.next().unwrap()).min(rest.len());
                let (now, later) = rest.split_at_mut(cut);
                rest = later;
                deframer.take(now, |packet| { got.push(packet.to_vec()); true }).unwrap();
                prop_assert!(deframer.held() < PREFIX + MAX_FRAME);
            }
            let wanted: Vec<_> = packets.into_iter().filter(|packet| !packet.is_empty()).collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_ends_the_stream_wherever_it_is_cut() {
        let mut stream = framed(&[vec![1; 3]]);
        stream.extend(u16::try_from(MAX_FRAME + 1).unwrap().to_be_bytes());
        for cut in 0..=stream.len() {
            let mut bytes = stream.clone();
            let (first, second) = bytes.split_at_mut(cut);
            let mut deframer = Deframer::default();
            let mut packets = 0;
            let mut count = |_: &mut [u8]| {
                packets += 1;
                true
            };
            let result = deframer
                .take(first, &mut count)
                .and_then(|()| deframer.take(second, &mut count));
            assert_eq!((result, packets), (Err(FrameTooLong), 1), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_is_handed_over_after_a_refusal() {
        let mut packets = 0;
        let mut stream = framed(&[vec![1], vec![2], vec![3]]);
        let result = Deframer::default().take(&mut stream, |_| {
            packets += 1;
            packets < 2
        });
        assert_eq!((result, packets), (Ok(()), 2));
    }
}
