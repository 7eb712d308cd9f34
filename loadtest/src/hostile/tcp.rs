//! TCP of strangers at the node's media port: a byte at a time, frames beyond every bound, and too many connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use super::attack::Attack;
use super::dice::Dice;

/// Connections that are held at a time.
const HELD: usize = 256;
/// Between two bytes of one connection.
const BYTE_EVERY: Duration = Duration::from_millis(5);
/// The addresses that connections come from: 127.126.0.0/16.
const ADDRESSES: u32 = 0x7f7e_0000;
/// How many addresses there are.
const PLACES: usize = 200;

/// What is done over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Frames come a byte at a time, and never to their end.
    Slow,
    /// Frames say that they are as long as can be, or are what no client sends.
    Giant,
    /// Connections are opened and cut off again.
    Many,
}

/// Connections that do so.
pub(super) struct Streams {
    target: SocketAddrV4,
    kind: Stream,
    dice: Dice,
    held: Vec<TcpStream>,
}

impl Streams {
    pub(super) fn new(target: SocketAddrV4, kind: Stream) -> Self {
        Self {
            target,
            kind,
            dice: Dice::new(53),
            held: Vec::new(),
        }
    }

    /// A connection, unless none can be had now.
    fn connect(&mut self) -> Result<Option<TcpStream>> {
        let from = Ipv4Addr::from(ADDRESSES | (1 + self.dice.below(PLACES) as u32));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Without this the ports of those that were closed are not free again for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddrV4::new(from, 0).into())?;
        match socket.connect_timeout(&self.target.into(), Duration::from_millis(20)) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(_) => Ok(None),
        }
    }

    fn slow(&mut self) -> Result<u64> {
        if self.held.len() < HELD {
            let more = self.connect()?;
            self.held.extend(more);
        } else {
            std::thread::sleep(BYTE_EVERY);
        }
        let before = self.held.len();
        // The length of a check, then a check that does not come to its end.
        let byte = if self.dice.below(2) == 0 { 0 } else { 1 };
        self.held.retain_mut(|stream| put(stream, &[byte]));
        Ok(before as u64)
    }

    fn giant(&mut self) -> Result<u64> {
        let Some(mut stream) = self.connect()? else {
            return Ok(0);
        };
        let mut frame = match self.dice.below(3) {
            0 => u16::MAX.to_be_bytes().to_vec(),
            1 => 2048u16.to_be_bytes().to_vec(),
            _ => b"GET / HTTP/1.1\r\n".to_vec(),
        };
        frame.extend(self.dice.bytes(60_000, 65_000));
        put(&mut stream, &frame);
        Ok(1)
    }

    fn many(&mut self) -> Result<u64> {
        if self.held.len() >= HELD {
            self.held.clear();
        }
        let more = self.connect()?;
        let count = more.iter().count() as u64;
        self.held.extend(more);
        Ok(count)
    }
}

impl Attack for Streams {
    fn volley(&mut self) -> Result<u64> {
        match self.kind {
            Stream::Slow => self.slow(),
            Stream::Giant => self.giant(),
            Stream::Many => self.many(),
        }
    }
}

/// Writes what is taken at once, and says whether the connection lives.
fn put(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let is_full = |kind| kind == ErrorKind::WouldBlock;
    let written = match stream.write(bytes) {
        Ok(_) => true,
        Err(error) => is_full(error.kind()),
    };
    let mut rest = [0; 64];
    written
        && match stream.read(&mut rest) {
            Ok(len) => len > 0,
            Err(error) => is_full(error.kind()),
        }
}
