//! The least that forwarding can cost: the packets of a frame are copied, sealed and handed to the kernel for each receiver,
//! and nothing else is done. `cargo xtask throughput` puts a node beside it.
//!
//! `bare-loop PORT RECEIVERS PACKETS_A_FRAME FRAMES_A_SECOND PACKET_BYTES SECONDS` sends to 127.1.0.0, 127.1.0.1, … and
//! prints `{"packets": …, "cpu_s": …, "per_cpu_s": …}`.

#![expect(clippy::print_stdout, reason = "its result is what this program is for")]
#![expect(clippy::disallowed_types, reason = "it is about real time")]

#[allow(dead_code, reason = "the worker's own sending half; nothing here receives")]
#[path = "../../../actors/src/media_worker/mmsg.rs"]
mod mmsg;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mmsg::{Run, Sender};
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{AeadAlgorithm, AeadCipher, RTCCryptoProvider};

/// Fixed header and 20 bytes of extensions, which are not encrypted.
const HEADER: usize = 32;
/// Of AES-128-GCM.
const TAG: usize = 16;
/// Receivers whose packets are made before they are sent: what one system call takes, and fits the second-level cache.
const BATCH: usize = 64;

struct Receiver {
    to: SocketAddr,
    cipher: Box<dyn AeadCipher>,
    sequence: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, receivers, packets, fps, bytes, seconds] = arguments.as_slice() else {
        bail!("PORT RECEIVERS PACKETS_A_FRAME FRAMES_A_SECOND PACKET_BYTES SECONDS");
    };
    let (port, receivers): (u16, u32) = (port.parse()?, receivers.parse()?);
    let (packets, fps): (usize, u32) = (packets.parse()?, fps.parse()?);
    let (bytes, seconds): (usize, u64) = (bytes.parse()?, seconds.parse()?);
    if bytes < HEADER || packets * (bytes + TAG) > 65_000 || fps == 0 {
        bail!("a frame of these packets is none, or longer than what is sent as one");
    }
    let provider = AwsLcRsProvider::new();
    let mut to = (0..receivers)
        .map(|number| {
            Ok(Receiver {
                to: (Ipv4Addr::from(0x7f01_0000 + number), port).into(),
                cipher: provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[7; 16])?,
                sequence: 0,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket2::SockRef::from(&socket).set_send_buffer_size(4 << 20)?;
    let frame = vec![0x55; packets * bytes];
    let mut sender = Sender::new();
    let mut arena = vec![0; BATCH * packets * (bytes + TAG)];
    let mut runs = Vec::with_capacity(BATCH);
    let (begin, cpu) = (Instant::now(), cpu_ns()?);
    let mut due = begin;
    let mut sent = 0u64;
    while begin.elapsed() < Duration::from_secs(seconds) {
        for batch in to.chunks_mut(BATCH) {
            runs.clear();
            for (receiver, place) in batch.iter_mut().zip(arena.chunks_exact_mut(packets * (bytes + TAG))) {
                for (packet, plain) in place.chunks_exact_mut(bytes + TAG).zip(frame.chunks_exact(bytes)) {
                    receiver.seal(packet, plain)?;
                }
                runs.push(Run {
                    to: receiver.to,
                    start: runs.len() * packets * (bytes + TAG),
                    len: packets * (bytes + TAG),
                    segment: bytes + TAG,
                });
            }
            let mut next = 0;
            while let Some(rest) = runs.get(next..).filter(|rest| !rest.is_empty()) {
                match sender.send(socket.as_fd(), rest, &arena) {
                    Ok(taken) => next += taken,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(e) => return Err(e).context("sending failed"),
                }
            }
            sent += (runs.len() * packets) as u64;
        }
        due += Duration::from_secs(1) / fps;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let cpu = (cpu_ns()? - cpu) as f64 / 1e9;
    let rate = sent as f64 / cpu.max(1e-3);
    println!("{{\"packets\": {sent}, \"cpu_s\": {cpu:.3}, \"per_cpu_s\": {rate:.0}}}");
    Ok(())
}

impl Receiver {
    /// Copies a packet, gives it a number of its own and seals it.
    fn seal(&mut self, packet: &mut [u8], plain: &[u8]) -> Result<()> {
        let (body, tag) = packet.split_at_mut(plain.len());
        body.copy_from_slice(plain);
        let number = self.sequence.to_be_bytes();
        self.sequence += 1;
        let (header, payload) = body.split_at_mut(HEADER);
        header[2..4].copy_from_slice(&number[6..]);
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number);
        self.cipher.seal_in_place(&nonce, header, payload, tag)?;
        Ok(())
    }
}

/// The processor time of this thread, the only one (`/proc/self/schedstat`, first field).
fn cpu_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().context("an empty schedstat")?.parse()?)
}
