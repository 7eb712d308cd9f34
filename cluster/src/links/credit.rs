//! How much may be under way on a link. Mailboxes have no bound, so the sender keeps to one: what it has sent beyond what the
//! receiver says it has handled. Both count from the start of the connection, so that a lost or repeated grant does no harm.

/// How many messages, with how many bytes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages.
    pub(crate) messages: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: usize) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    /// What was counted since `earlier`.
    fn since(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.wrapping_sub(earlier.messages),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }
}

/// The sender's side.
#[derive(Debug)]
pub(crate) struct Window {
    limit: Tally,
    sent: Tally,
    handled: Tally,
}

impl Window {
    /// A window of which nothing is used.
    pub(crate) fn new(limit: Tally) -> Self {
        Self {
            limit,
            sent: Tally::default(),
            handled: Tally::default(),
        }
    }

    /// Takes room for a message of so many bytes; `false`, and nothing is taken, if there is none.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let mut sent = self.sent;
        sent.add(bytes);
        let under_way = sent.since(self.handled);
        let fits = under_way.messages <= self.limit.messages && under_way.bytes <= self.limit.bytes;
        if fits {
            self.sent = sent;
        }
        fits
    }

    /// The receiver has handled so much. Older words, and more than was sent, are passed over.
    pub(crate) fn handled(&mut self, handled: Tally) {
        let under_way = self.sent.since(self.handled);
        let now_under_way = self.sent.since(handled);
        if now_under_way.messages <= under_way.messages && now_under_way.bytes <= under_way.bytes {
            self.handled = handled;
        }
    }
}

/// The receiver's side.
#[derive(Debug)]
pub(crate) struct Handled {
    batch: Tally,
    handled: Tally,
    told: Tally,
}

impl Handled {
    /// Nothing handled yet, of a sender with this window: told of at every quarter.
    pub(crate) fn new(limit: Tally) -> Self {
        let batch = Tally {
            messages: (limit.messages / 4).max(1),
            bytes: (limit.bytes / 4).max(1),
        };
        Self {
            batch,
            handled: Tally::default(),
            told: Tally::default(),
        }
    }

    /// Counts a message; `true` if it is time to tell the sender.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.handled.add(bytes);
        let untold = self.handled.since(self.told);
        untold.messages >= self.batch.messages || untold.bytes >= self.batch.bytes
    }

    /// What to tell the sender.
    pub(crate) fn tell(&mut self) -> Tally {
        self.told = self.handled;
        self.handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Tally = Tally {
        messages: 8,
        bytes: 1_000,
    };

    #[test]
    fn a_full_window_takes_nothing_until_some_is_handled() {
        let mut window = Window::new(LIMIT);
        assert!((0..8).all(|_| window.take(1)));
        assert!(!window.take(1));
        window.handled(Tally { messages: 2, bytes: 2 });
        assert!(window.take(1) && window.take(1));
        assert!(!window.take(1));
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let mut window = Window::new(LIMIT);
        assert!(window.take(600));
        assert!(!window.take(500));
        assert!(window.take(400));
        assert!(!window.take(1));
    }

    #[test]
    fn old_and_false_words_change_nothing() {
        let mut window = Window::new(LIMIT);
        assert!((0..8).all(|_| window.take(1)));
        window.handled(Tally { messages: 4, bytes: 4 });
        window.handled(Tally { messages: 2, bytes: 2 });
        window.handled(Tally {
            messages: 100,
            bytes: 100,
        });
        assert!((0..4).all(|_| window.take(1)));
        assert!(!window.take(1));
    }

    #[test]
    fn a_quarter_handled_is_told() {
        let mut handled = Handled::new(LIMIT);
        assert!(!handled.add(1));
        assert!(handled.add(1));
        assert_eq!(handled.tell(), Tally { messages: 2, bytes: 2 });
        assert!(handled.add(250), "a quarter of the bytes");
    }

    #[test]
    fn a_sender_never_waits_for_words_that_will_not_come() {
        let (mut window, mut handled) = (Window::new(LIMIT), Handled::new(LIMIT));
        let mut sent = 0;
        for _ in 0..1_000 {
            if window.take(125) {
                sent += 1;
            }
            if handled.handled.messages < sent && handled.add(125) {
                window.handled(handled.tell());
            }
        }
        assert_eq!(sent, 1_000);
    }
}
