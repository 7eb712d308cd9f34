//! A bounded queue from one thread to one other. Its slots are used again and again, so that what passes allocates nothing;
//! neither end ever waits for the other.

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Notice, PacketHead, Piped, PipedPacket};

/// Sizes that a slot's memory grows through.
const SIZE_CLASSES: [usize; 4] = [256, 640, 1280, 2048];

/// A place for one item. Its memory grows to what it has to hold, and stays.
#[derive(Debug)]
struct Slot {
    content: Content,
    descriptor_len: usize,
    /// The dependency descriptor, then the payload.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Packet(PacketHead),
    Notice(Notice),
}

/// The end that items go into.
#[derive(Debug)]
pub struct PipeSender {
    full: Producer<Slot>,
    free: Consumer<Slot>,
    /// Slots made so far: no more than were ever under way at once.
    made: usize,
}

/// The end that items come out of.
#[derive(Debug)]
pub struct PipeReceiver {
    full: Consumer<Slot>,
    free: Producer<Slot>,
}

/// A queue for `capacity` items.
pub fn channel(capacity: usize) -> (PipeSender, PipeReceiver) {
    let (to_receiver, full) = RingBuffer::new(capacity);
    let (free, to_sender) = RingBuffer::new(capacity);
    let sender = PipeSender {
        full: to_receiver,
        free: to_sender,
        made: 0,
    };
    (sender, PipeReceiver { full, free })
}

impl PipeSender {
    /// Copies an item in. `false` when the queue is full, or its other end is gone.
    pub fn push(&mut self, item: &Piped<'_>) -> bool {
        if self.full.is_abandoned() {
            return false;
        }
        let slot = match self.free.pop() {
            Ok(slot) => slot.filled(item),
            Err(_) if self.made < self.full.buffer().capacity() => {
                self.made += 1;
                Slot::new(item)
            }
            Err(_) => return false,
        };
        // There are no more slots than places.
        self.full.push(slot).is_ok()
    }
}

impl PipeReceiver {
    /// Hands over what waits, at most `limit` items. Says whether more may wait.
    pub fn receive(&mut self, limit: usize, mut take: impl FnMut(Piped<'_>)) -> bool {
        for _ in 0..limit {
            let Ok(slot) = self.full.pop() else {
                return false;
            };
            take(slot.item());
            // There are no more slots than places; a sender that is gone needs none.
            drop(self.free.push(slot));
        }
        !self.full.is_empty()
    }
}

impl Slot {
    fn new(item: &Piped<'_>) -> Self {
        let slot = Self {
            content: Content::of(item),
            descriptor_len: 0,
            bytes: Vec::new(),
        };
        slot.filled(item)
    }

    fn filled(mut self, item: &Piped<'_>) -> Self {
        let (descriptor, payload) = match item {
            Piped::Packet(packet) => (packet.descriptor, packet.payload),
            Piped::Notice(_) => (&[][..], &[][..]),
        };
        let needed = descriptor.len() + payload.len();
        self.bytes.clear();
        if self.bytes.capacity() < needed {
            let class = SIZE_CLASSES.into_iter().find(|class| *class >= needed);
            self.bytes.reserve_exact(class.unwrap_or(needed));
        }
        self.bytes.extend_from_slice(descriptor);
        self.bytes.extend_from_slice(payload);
        self.descriptor_len = descriptor.len();
        self.content = Content::of(item);
        self
    }

    fn item(&self) -> Piped<'_> {
        match self.content {
            Content::Notice(notice) => Piped::Notice(notice),
            Content::Packet(head) => {
                let (descriptor, payload) = self.bytes.split_at(self.descriptor_len);
                Piped::Packet(PipedPacket {
                    head,
                    descriptor,
                    payload,
                })
            }
        }
    }
}

impl Content {
    fn of(item: &Piped<'_>) -> Self {
        match item {
            Piped::Packet(packet) => Self::Packet(packet.head),
            Piped::Notice(notice) => Self::Notice(*notice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{PayloadType, ProducerId};

    fn packet(extended: u64, descriptor: &[u8], payload: &[u8], push: impl FnOnce(&Piped<'_>) -> bool) -> bool {
        let head = PacketHead {
            producer: ProducerId(7),
            encoding: 1,
            extended,
            epoch: 2,
            timestamp: 3,
            payload_type: PayloadType(96),
            marker: true,
            audio_level: None,
            orientation: Some(1),
            wrapping: Default::default(),
        };
        push(&Piped::Packet(PipedPacket {
            head,
            descriptor,
            payload,
        }))
    }

    /// Number, descriptor and payload.
    type Came = (u64, Vec<u8>, Vec<u8>);

    fn received(receiver: &mut PipeReceiver, limit: usize) -> (Vec<Came>, bool) {
        let mut got = Vec::new();
        let more = receiver.receive(limit, |item| match item {
            Piped::Packet(packet) => got.push((
                packet.head.extended,
                packet.descriptor.to_vec(),
                packet.payload.to_vec(),
            )),
            Piped::Notice(notice) => panic!("{notice:?}"),
        });
        (got, more)
    }

    #[test]
    fn items_come_out_in_order_and_as_they_went_in() {
        let (mut sender, mut receiver) = channel(4);
        for turn in 0..10u64 {
            let payload = vec![turn as u8; (turn as usize * 311) % 1500];
            assert!(packet(turn, b"dd", &payload, |item| sender.push(item)));
            assert!(packet(turn + 100, &[], b"x", |item| sender.push(item)));
            let (got, more) = received(&mut receiver, 10);
            assert_eq!(
                got,
                [(turn, b"dd".to_vec(), payload), (turn + 100, Vec::new(), b"x".to_vec())]
            );
            assert!(!more);
        }
        let wanted = Notice::KeyFrameWanted {
            producer: ProducerId(9),
            encoding: 2,
        };
        assert!(sender.push(&Piped::Notice(wanted)));
        let mut notices = Vec::new();
        receiver.receive(1, |item| match item {
            Piped::Notice(notice) => notices.push(notice),
            Piped::Packet(_) => panic!("a packet"),
        });
        assert_eq!(notices, [wanted]);
    }

    #[test]
    fn a_full_queue_drops_what_comes_and_goes_on() {
        let (mut sender, mut receiver) = channel(3);
        let took: Vec<_> = (0..5).map(|n| packet(n, &[], b"x", |item| sender.push(item))).collect();
        assert_eq!(took, [true, true, true, false, false]);
        let (got, more) = received(&mut receiver, 2);
        assert_eq!((got.len(), more), (2, true));
        assert!(packet(9, &[], b"x", |item| sender.push(item)));
        let numbers: Vec<_> = received(&mut receiver, 9).0.into_iter().map(|it| it.0).collect();
        assert_eq!(numbers, [2, 9]);
    }

    #[test]
    fn an_end_that_is_gone_takes_nothing() {
        let (mut sender, receiver) = channel(3);
        drop(receiver);
        assert!(!packet(1, &[], b"x", |item| sender.push(item)));
        let (sender, mut receiver) = channel(3);
        drop(sender);
        assert_eq!(received(&mut receiver, 9), (Vec::new(), false));
    }

    #[test]
    fn everything_passes_between_two_threads() {
        const ITEMS: u64 = 20_000;
        let (mut sender, mut receiver) = channel(64);
        let writer = std::thread::spawn(move || {
            for n in 0..ITEMS {
                while !packet(n, &[], &n.to_be_bytes(), |item| sender.push(item)) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < ITEMS {
            receiver.receive(16, |item| {
                let Piped::Packet(packet) = item else {
                    panic!("a notice")
                };
                assert_eq!(packet.head.extended, next);
                assert_eq!(packet.payload, next.to_be_bytes());
                next += 1;
            });
            std::thread::yield_now();
        }
        writer.join().unwrap();
    }
}
