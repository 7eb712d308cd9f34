//! What a link carries between two processes of one machine. Run by hand:
//! `cargo test --release -p caside-cluster --test links -- --ignored --nocapture bench`.

use std::time::Duration;

use crate::process::{Process, figure, introduce, numbers};

#[test]
#[ignore = "measures, and judges nothing"]
fn what_a_link_carries() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    let mut expected = 0;
    for bytes in [500, 1_500] {
        let messages = 100_000;
        a.tell(&format!("send b-1 {messages} {bytes} patient"));
        let (_, sent) = a.wait_timed("sent ", Duration::from_secs(120));
        expected += messages;
        b.wait_received(expected);
        let [_, _, micros] = numbers(&sent);
        a.tell(&format!("ping b-1 5000 {bytes}"));
        let (_, pinged) = a.wait_timed("pinged ", Duration::from_secs(120));
        let [p50, p99] = numbers::<2>(&pinged);
        figure(&format!(
            "{bytes} B: {} messages/s one way; round trip p50 {p50} µs, p99 {p99} µs",
            messages * 1_000_000 / micros.max(1)
        ));
    }
}
