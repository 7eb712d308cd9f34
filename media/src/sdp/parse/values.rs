//! The values of single attributes.

use super::super::error::SdpError;
use super::super::model::{Direction, Extmap, Media, Rid, Simulcast, SimulcastId, Source, SourceGroup};
use super::{Line, MAX_REPEATED, MAX_TAG_BYTES};
use crate::parameters::{Fingerprint, Ssrc};

/// The direction attributes (RFC 8866 §6.7).
pub(super) fn direction(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// `token` of RFC 8866 §9.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x27 | 0x2A | 0x2B | 0x2D | 0x2E | b'0'..=b'9' | b'A'..=b'Z' | 0x5E..=0x7E))
}

/// `ice-char` of RFC 8839 §5.4, `least` to 256 of them.
pub(super) fn is_ice_chars(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// A mid or rid.
pub(super) fn tag(line: Line<'_>, text: &str, what: &'static str) -> Result<String, SdpError> {
    if is_token(text) && text.len() <= MAX_TAG_BYTES {
        Ok(text.to_owned())
    } else {
        Err(line.malformed(what))
    }
}

/// `a=fingerprint` (RFC 8122 §5). `None` for algorithms that we do not verify, and for broken ones: one usable is
/// enough, and an m-line without any is refused later.
pub(super) fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (algorithm, digest) = value.split_once([' ', '\t'])?;
    let algorithm = algorithm.to_ascii_lowercase();
    let bytes = match algorithm.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return None,
    };
    let digest: Vec<u8> = digest.trim().split(':').map(hex_byte).collect::<Option<_>>()?;
    (digest.len() == bytes).then_some(Fingerprint { algorithm, digest })
}

fn hex_byte(text: &str) -> Option<u8> {
    let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u8::from_str_radix(text, 16).ok() } else { None }
}

/// `a=extmap` (RFC 8285 §5). Ids of 4096 and more, which ask us to choose one (§5), are not for us to answer: id 0 here,
/// which nothing accepts.
pub(super) fn extmap(line: Line<'_>, value: &str) -> Result<Extmap, SdpError> {
    let mut fields = value.split_ascii_whitespace();
    let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
        return Err(line.malformed("extmap"));
    };
    let (id, direction) = match id.split_once('/') {
        Some((id, name)) => (id, Some(direction(name).ok_or(line.malformed("extmap"))?)),
        None => (id, None),
    };
    let id = id.parse::<u16>().map_err(|_| line.malformed("extmap"))?;
    Ok(Extmap {
        id: u8::try_from(id).unwrap_or(0),
        direction,
        uri: uri.to_owned(),
    })
}

/// `a=ssrc` (RFC 5576 §4.1). Attributes other than `cname` and `msid` are passed over.
pub(super) fn source(line: Line<'_>, media: &mut Media, value: &str) -> Result<(), SdpError> {
    let (number, attribute) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    let ssrc = ssrc(line, number)?;
    let index = match media.sources.iter().position(|source| source.ssrc == ssrc) {
        Some(index) => index,
        None => {
            let source = Source {
                ssrc,
                cname: None,
                msid: None,
            };
            line.push(&mut media.sources, source, MAX_REPEATED, "SSRCs")?;
            media.sources.len() - 1
        }
    };
    if let Some(source) = media.sources.get_mut(index) {
        match attribute.trim().split_once(':') {
            Some(("cname", cname)) => source.cname = Some(cname.trim().to_owned()),
            Some(("msid", msid)) => source.msid = Some(msid.trim().to_owned()),
            _ => {}
        }
    }
    Ok(())
}

fn ssrc(line: Line<'_>, text: &str) -> Result<Ssrc, SdpError> {
    text.parse().map(Ssrc).map_err(|_| line.malformed("SSRC"))
}

/// `a=ssrc-group` (RFC 5576 §4.2).
pub(super) fn source_group(line: Line<'_>, media: &mut Media, value: &str) -> Result<(), SdpError> {
    let mut fields = value.split_ascii_whitespace();
    let semantics = fields
        .next()
        .filter(|text| is_token(text))
        .ok_or(line.malformed("ssrc-group"))?
        .to_owned();
    let mut ssrcs = Vec::new();
    for field in fields {
        line.push(&mut ssrcs, ssrc(line, field)?, MAX_REPEATED, "SSRCs in a group")?;
    }
    line.push(
        &mut media.source_groups,
        SourceGroup { semantics, ssrcs },
        MAX_REPEATED,
        "SSRC groups",
    )
}

/// `a=rid` (RFC 8851 §4).
pub(super) fn rid(line: Line<'_>, media: &mut Media, value: &str) -> Result<(), SdpError> {
    let mut fields = value.splitn(3, [' ', '\t']);
    let id = tag(line, fields.next().unwrap_or_default(), "rid")?;
    let send = match fields.next() {
        Some("send") => true,
        Some("recv") => false,
        _ => return Err(line.malformed("rid")),
    };
    let restrictions = fields.next().unwrap_or_default().trim().to_owned();
    line.push(&mut media.rids, Rid { id, send, restrictions }, MAX_REPEATED, "rids")
}

/// `a=simulcast` (RFC 8853 §5.1).
pub(super) fn simulcast(line: Line<'_>, value: &str) -> Result<Simulcast, SdpError> {
    let mut simulcast = Simulcast::default();
    let mut fields = value.split_ascii_whitespace();
    while let Some(way) = fields.next() {
        let streams = match way {
            "send" => &mut simulcast.send,
            "recv" => &mut simulcast.recv,
            _ => return Err(line.malformed("simulcast")),
        };
        let list = fields.next().ok_or(line.malformed("simulcast"))?;
        for stream in list.split(';') {
            let ids = simulcast_ids(line, stream)?;
            line.push(streams, ids, MAX_REPEATED, "simulcast streams")?;
        }
    }
    Ok(simulcast)
}

fn simulcast_ids(line: Line<'_>, stream: &str) -> Result<Vec<SimulcastId>, SdpError> {
    let mut ids = Vec::new();
    for text in stream.split(',') {
        let (text, paused) = text.strip_prefix('~').map_or((text, false), |rest| (rest, true));
        let id = SimulcastId {
            rid: tag(line, text, "simulcast")?,
            paused,
        };
        line.push(&mut ids, id, MAX_REPEATED, "simulcast alternatives")?;
    }
    Ok(ids)
}
