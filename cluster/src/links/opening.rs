//! The first words on a connection, before ractor_cluster has a say: who asks whom, and for what.
//!
//! Both words are signed with the cookie, so that a stranger gets nowhere near the actors, and an answer that a node is gone can
//! be believed. The opening could be played again by one who hears it; ractor_cluster's own challenge stands behind it, and TLS
//! before it.

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::{Buf, BufMut, Bytes};
use caside_protocol::NodeId;
use caside_protocol::node::Member;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: [u8; 4] = *b"CSLK";
/// Longest body: two members, names of 128 characters, and room for what later versions add.
const MAX_BODY: usize = 1_024;
const TAG: usize = 32;

/// What signs the first words.
#[derive(Clone)]
pub(crate) struct Secret(hmac::Key);

impl Secret {
    pub(crate) fn new(cookie: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes()))
    }
}

/// What the dialer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A link.
    Link,
    /// To know who is there.
    Probe,
}

/// The dialer's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) purpose: Purpose,
    /// The wire version it speaks.
    pub(crate) version: u32,
    /// Random; names the connection from then on.
    pub(crate) connection: u64,
    pub(crate) from: Member,
    pub(crate) to: Member,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Welcome,
    /// Another member than the one asked for is here.
    Elsewhere,
    /// The versions do not fit.
    Version,
    /// The one who asks is not among the members known here.
    Unknown,
    /// No room for more connections.
    Full,
}

/// The acceptor's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// The wire version it speaks.
    pub(crate) version: u32,
    /// Who is here.
    pub(crate) member: Member,
}

/// Why first words came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningError {
    #[error("closed before it answered, or broken")]
    Io(#[from] std::io::Error),
    #[error("not what a member says, or another cookie")]
    Strange,
    #[error("nothing said in time")]
    Late,
}

/// Whether members that speak these versions may be linked: the same, or neighbours.
pub(crate) fn versions_fit(ours: u32, theirs: u32) -> bool {
    ours.abs_diff(theirs) <= 1
}

/// Says `opening` and hears the answer, within `limit`.
pub(crate) async fn ask<S>(
    stream: &mut S,
    secret: &Secret,
    opening: &Opening,
    limit: Duration,
) -> Result<Answer, OpeningError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let talk = async {
        let body = opening.encode();
        write(stream, &body, &hmac::sign(&secret.0, &body)).await?;
        let (answer, tag) = read(stream).await?;
        let signed = signed_answer(&body, &answer);
        hmac::verify(&secret.0, &signed, &tag).map_err(|_| OpeningError::Strange)?;
        Answer::decode(answer).ok_or(OpeningError::Strange)
    };
    tokio::time::timeout(limit, talk)
        .await
        .unwrap_or(Err(OpeningError::Late))
}

/// Hears an opening.
pub(crate) async fn hear<S: AsyncRead + Unpin>(stream: &mut S, secret: &Secret) -> Result<Opening, OpeningError> {
    let (body, tag) = read(stream).await?;
    hmac::verify(&secret.0, &body, &tag).map_err(|_| OpeningError::Strange)?;
    Opening::decode(body).ok_or(OpeningError::Strange)
}

/// Answers an opening.
pub(crate) async fn answer<S>(
    stream: &mut S,
    secret: &Secret,
    opening: &Opening,
    answer: &Answer,
) -> Result<(), OpeningError>
where
    S: AsyncWrite + Unpin,
{
    let body = answer.encode();
    let tag = hmac::sign(&secret.0, &signed_answer(&opening.encode(), &body));
    write(stream, &body, &tag).await
}

/// What the answer's signature is over: it answers this opening and no other.
fn signed_answer(opening: &[u8], answer: &[u8]) -> Vec<u8> {
    [b"answer".as_slice(), opening, answer].concat()
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, body: &[u8], tag: &hmac::Tag) -> Result<(), OpeningError> {
    let mut out = Vec::with_capacity(MAGIC.len() + 2 + body.len() + TAG);
    out.put_slice(&MAGIC);
    out.put_u16(u16::try_from(body.len()).map_err(|_| OpeningError::Strange)?);
    out.put_slice(body);
    out.put_slice(tag.as_ref());
    stream.write_all(&out).await?;
    Ok(stream.flush().await?)
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Bytes, [u8; TAG]), OpeningError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(OpeningError::Strange);
    }
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_BODY {
        return Err(OpeningError::Strange);
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    let mut tag = [0; TAG];
    stream.read_exact(&mut tag).await?;
    Ok((body.into(), tag))
}

impl Opening {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(match self.purpose {
            Purpose::Link => 1,
            Purpose::Probe => 2,
        });
        out.put_u32(self.version);
        out.put_u64(self.connection);
        put_member(&mut out, &self.from);
        put_member(&mut out, &self.to);
        out
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let purpose = match bytes.try_get_u8().ok()? {
            1 => Purpose::Link,
            2 => Purpose::Probe,
            _ => return None,
        };
        Some(Self {
            purpose,
            version: bytes.try_get_u32().ok()?,
            connection: bytes.try_get_u64().ok()?,
            from: take_member(&mut bytes)?,
            to: take_member(&mut bytes)?,
        })
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(match self.verdict {
            Verdict::Welcome => 1,
            Verdict::Elsewhere => 2,
            Verdict::Version => 3,
            Verdict::Unknown => 4,
            Verdict::Full => 5,
        });
        out.put_u32(self.version);
        put_member(&mut out, &self.member);
        out
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let verdict = match bytes.try_get_u8().ok()? {
            1 => Verdict::Welcome,
            2 => Verdict::Elsewhere,
            3 => Verdict::Version,
            4 => Verdict::Unknown,
            5 => Verdict::Full,
            _ => return None,
        };
        Some(Self {
            verdict,
            version: bytes.try_get_u32().ok()?,
            member: take_member(&mut bytes)?,
        })
    }
}

fn put_member(out: &mut Vec<u8>, member: &Member) {
    // A node's id has 1 to 128 characters of one byte.
    let id = member.node.as_str().as_bytes();
    out.put_u16(u16::try_from(id.len()).unwrap_or(0));
    out.put_slice(id);
    out.put_u64(member.incarnation);
}

fn take_member(bytes: &mut Bytes) -> Option<Member> {
    let len = usize::from(bytes.try_get_u16().ok()?);
    if len > bytes.len() {
        return None;
    }
    let id = bytes.split_to(len);
    let node = NodeId::new(std::str::from_utf8(&id).ok()?).ok()?;
    Some(Member {
        node,
        incarnation: bytes.try_get_u64().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, incarnation: u64) -> Member {
        Member {
            node: NodeId::new(node).unwrap(),
            incarnation,
        }
    }

    fn opening() -> Opening {
        Opening {
            purpose: Purpose::Link,
            version: 3,
            connection: 99,
            from: member("a", 1),
            to: member(&"b".repeat(128), 2),
        }
    }

    async fn talk(dialer: &str, acceptor: &str) -> (Result<Answer, OpeningError>, Result<Opening, OpeningError>) {
        let (mut near, mut far) = tokio::io::duplex(4_096);
        let (dialer, acceptor) = (Secret::new(dialer), Secret::new(acceptor));
        let accepts = async move {
            let heard = hear(&mut far, &acceptor).await?;
            let word = Answer {
                verdict: Verdict::Welcome,
                version: 4,
                member: heard.to.clone(),
            };
            answer(&mut far, &acceptor, &heard, &word).await?;
            Ok(heard)
        };
        tokio::join!(
            async { ask(&mut near, &dialer, &opening(), Duration::from_secs(1)).await },
            accepts
        )
    }

    #[tokio::test]
    async fn both_hear_each_other_with_one_cookie() {
        let (answer, heard) = talk("cookie", "cookie").await;
        assert_eq!(heard.unwrap(), opening());
        assert_eq!(
            answer.unwrap(),
            Answer {
                verdict: Verdict::Welcome,
                version: 4,
                member: opening().to
            }
        );
    }

    #[tokio::test]
    async fn another_cookie_is_a_stranger() {
        let (answer, heard) = talk("cookie", "other").await;
        assert!(matches!(heard, Err(OpeningError::Strange)));
        assert!(
            matches!(answer, Err(OpeningError::Io(_))),
            "nothing is told to a stranger"
        );
    }

    #[tokio::test]
    async fn an_echo_is_no_answer() {
        let (mut near, far) = tokio::io::duplex(4_096);
        let (mut read, mut write) = tokio::io::split(far);
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
        let heard = ask(&mut near, &Secret::new("cookie"), &opening(), Duration::from_secs(1)).await;
        assert!(matches!(heard, Err(OpeningError::Strange)));
    }

    #[test]
    fn cut_words_are_none() {
        let bytes = opening().encode();
        assert!((0..bytes.len()).all(|len| Opening::decode(Bytes::copy_from_slice(&bytes[..len])).is_none()));
        assert_eq!(Opening::decode(bytes.into()), Some(opening()));
    }

    #[test]
    fn neighbouring_versions_fit() {
        for (ours, theirs, fit) in [
            (5, 5, true),
            (5, 4, true),
            (4, 5, true),
            (5, 3, false),
            (3, 5, false),
            (0, u32::MAX, false),
        ] {
            assert_eq!(versions_fit(ours, theirs), fit, "{ours} and {theirs}");
        }
    }
}
