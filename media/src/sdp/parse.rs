//! Text to model. Everything that is repeated has a bound, every number a range, and every text that may be written
//! again (mids, protocols, formats, format parameters) an alphabet.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod values;

use std::collections::HashMap;
use std::net::IpAddr;

use super::candidate::Candidate;
use super::error::SdpError;
use super::model::{Bandwidth, Description, Direction, Extmap, Media, MediaType, RtpCodec, Setup, TransportAttributes};
use crate::parameters::PayloadType;
use values::{direction, extmap, fingerprint, is_ice_chars, is_token, rid, simulcast, source, source_group, tag};

/// The longest description that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 4096;
/// The most m-lines.
pub const MAX_MEDIA: usize = 128;
/// The most payload types, or other formats, of one m-line.
pub const MAX_FORMATS: usize = 64;
/// The most candidates kept of one m-line; further ones are passed over.
pub const MAX_CANDIDATES: usize = 64;
/// The most of any other attribute that may be repeated in one m-line, or in the session.
pub const MAX_REPEATED: usize = 64;
/// The longest mid and the longest rid, in bytes: what a one-byte header extension carries (RFC 8285 §4.2).
pub const MAX_TAG_BYTES: usize = 16;

/// Reads a description.
///
/// Lines may end in LF alone. Lines of unknown types and unknown attributes are passed over, as are fingerprints of
/// unknown algorithms and candidates of kinds that we never write.
///
/// # Errors
/// [`SdpError`] when the text is too large or breaks the grammar.
pub fn parse(text: &str) -> Result<Description, SdpError> {
    if text.len() > MAX_BYTES {
        return Err(SdpError::TooLong { bytes: text.len() });
    }
    let mut reader = Reader::default();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.is_empty() {
            reader.line(Line {
                number: index + 1,
                text: line,
            })?;
        }
    }
    reader.finish()
}

/// A line and its place, for errors.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn malformed(self, what: &'static str) -> SdpError {
        SdpError::Malformed {
            line: self.number,
            what,
        }
    }

    fn push<T>(self, list: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), SdpError> {
        if list.len() >= limit {
            return Err(SdpError::TooMany {
                line: self.number,
                what,
                limit,
            });
        }
        list.push(item);
        Ok(())
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    description: Description,
    seen_version: bool,
    seen_origin: bool,
    session_direction: Option<Direction>,
    session_extensions: Vec<Extmap>,
    /// Of the m-line being read: where each payload type is in `codecs`.
    payloads: HashMap<u8, usize>,
    /// Of the m-line being read: `a=rtcp-fb:*`.
    wildcard_feedback: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        if line.text.len() > MAX_LINE_BYTES {
            return Err(SdpError::LineTooLong { line: line.number });
        }
        if line.text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(line.malformed("character"));
        }
        let (kind, value) = line.text.split_once('=').ok_or(line.malformed("line"))?;
        if !self.seen_version && kind != "v" {
            return Err(line.malformed("version"));
        }
        match kind {
            "v" if value.trim() == "0" && !self.seen_version => self.seen_version = true,
            "v" => return Err(line.malformed("version")),
            "o" => self.origin(line, value)?,
            "m" => self.media(line, value)?,
            "c" => self.connection(value),
            "b" => self.bandwidth(line, value)?,
            "a" => self.attribute(line, value)?,
            _ if kind.len() == 1 => {}
            _ => return Err(line.malformed("line")),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Description, SdpError> {
        let end = Line { number: 0, text: "" };
        self.finish_media();
        if !self.seen_version || !self.seen_origin {
            return Err(end.malformed("session"));
        }
        Ok(self.description)
    }

    /// Applies what holds for the whole m-line once its last attribute is read.
    fn finish_media(&mut self) {
        let wildcard = std::mem::take(&mut self.wildcard_feedback);
        self.payloads.clear();
        let Some(media) = self.description.media.last_mut() else {
            return;
        };
        for codec in &mut media.codecs {
            for feedback in &wildcard {
                if codec.feedback.len() < MAX_REPEATED && !codec.feedback.contains(feedback) {
                    codec.feedback.push(feedback.clone());
                }
            }
        }
        for extension in &self.session_extensions {
            // RFC 8285 §6: session level holds for every m-line; its own come first.
            if media.extensions.len() < MAX_REPEATED && !media.extensions.contains(extension) {
                media.extensions.push(extension.clone());
            }
        }
    }

    /// RFC 8866 §5.2. The numbers of other implementations need not fit 64 bits, nor do they matter to us.
    fn origin(&mut self, line: Line<'_>, value: &str) -> Result<(), SdpError> {
        let mut fields = value.split_ascii_whitespace().skip(1);
        let (Some(id), Some(version)) = (fields.next(), fields.next()) else {
            return Err(line.malformed("origin"));
        };
        self.description.session_id = id.parse().unwrap_or_default();
        self.description.session_version = version.parse().unwrap_or_default();
        self.seen_origin = true;
        Ok(())
    }

    /// RFC 8866 §5.14.
    fn media(&mut self, line: Line<'_>, value: &str) -> Result<(), SdpError> {
        self.finish_media();
        let mut fields = value.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(line.malformed("m-line"));
        };
        let port = port.split_once('/').map_or(port, |(first, _)| first);
        let port = port.parse::<u16>().map_err(|_| line.malformed("port"))?;
        let kind = match kind {
            "audio" => MediaType::Audio,
            "video" => MediaType::Video,
            "application" => MediaType::Application,
            _ if is_token(kind) => MediaType::Other(kind.to_owned()),
            _ => return Err(line.malformed("media type")),
        };
        if !protocol.split('/').all(is_token) {
            return Err(line.malformed("protocol"));
        }
        let mut media = Media::new(kind, port, protocol);
        media.direction = self.session_direction.unwrap_or(Direction::SendRecv);
        for format in fields {
            self.format(line, &mut media, format)?;
        }
        if media.codecs.is_empty() && media.formats.is_empty() {
            return Err(line.malformed("m-line"));
        }
        line.push(&mut self.description.media, media, MAX_MEDIA, "m-lines")
    }

    /// One `<fmt>`. One that occurs twice counts once.
    fn format(&mut self, line: Line<'_>, media: &mut Media, format: &str) -> Result<(), SdpError> {
        let payload_type = format
            .parse::<u8>()
            .ok()
            .filter(|number| *number < 128 && media.is_rtp());
        let Some(number) = payload_type else {
            if !is_token(format) {
                return Err(line.malformed("format"));
            }
            return line.push(&mut media.formats, format.to_owned(), MAX_FORMATS, "formats");
        };
        if self.payloads.contains_key(&number) {
            return Ok(());
        }
        self.payloads.insert(number, media.codecs.len());
        let codec = RtpCodec {
            payload_type: PayloadType(number),
            name: String::new(),
            clock_rate: 0,
            channels: 0,
            fmtp: String::new(),
            feedback: Vec::new(),
        };
        line.push(&mut media.codecs, codec, MAX_FORMATS, "payload types")
    }

    /// RFC 8866 §5.7. A name in place of an address, and the unspecified address, say nothing to us.
    fn connection(&mut self, value: &str) {
        let address = value
            .split_ascii_whitespace()
            .nth(2)
            .and_then(|text| text.parse::<IpAddr>().ok());
        if let Some(media) = self.description.media.last_mut() {
            media.address = address.filter(|ip| !ip.is_unspecified());
        }
    }

    /// RFC 8866 §5.8. Unknown modifiers are passed over, as are values that no link has.
    fn bandwidth(&mut self, line: Line<'_>, value: &str) -> Result<(), SdpError> {
        let (modifier, number) = value.split_once(':').ok_or(line.malformed("bandwidth"))?;
        let Some(media) = self.description.media.last_mut() else {
            return Ok(());
        };
        let Ok(number) = number.trim().parse::<u32>() else {
            return Ok(());
        };
        let bandwidth = match modifier {
            "AS" => Bandwidth::ApplicationSpecific(number),
            "TIAS" => Bandwidth::TransportIndependent(number),
            _ => return Ok(()),
        };
        line.push(&mut media.bandwidth, bandwidth, MAX_REPEATED, "b= lines")
    }

    fn attribute(&mut self, line: Line<'_>, text: &str) -> Result<(), SdpError> {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.trim();
        if let Some(direction) = direction(name) {
            match self.description.media.last_mut() {
                Some(media) => media.direction = direction,
                None => self.session_direction = Some(direction),
            }
            return Ok(());
        }
        let transport = match self.description.media.last_mut() {
            Some(media) => &mut media.transport,
            None => &mut self.description.transport,
        };
        if transport_attribute(line, transport, name, value)? {
            return Ok(());
        }
        match self.description.media.last_mut() {
            None => self.session_attribute(line, name, value),
            Some(media) => match name {
                "rtpmap" | "fmtp" => codec_attribute(line, media, &self.payloads, name, value),
                "rtcp-fb" => feedback(line, media, &self.payloads, &mut self.wildcard_feedback, value),
                _ => media_attribute(line, media, name, value),
            },
        }
    }

    fn session_attribute(&mut self, line: Line<'_>, name: &str, value: &str) -> Result<(), SdpError> {
        match name {
            "ice-lite" => self.description.ice_lite = true,
            "extmap-allow-mixed" => self.description.extmap_allow_mixed = true,
            "extmap" => {
                let extension = extmap(line, value)?;
                line.push(&mut self.session_extensions, extension, MAX_REPEATED, "extensions")?;
            }
            "group" => {
                let mut fields = value.split_ascii_whitespace();
                if fields.next() == Some("BUNDLE") {
                    let mids: Vec<String> = fields.map(|mid| tag(line, mid, "group")).collect::<Result<_, _>>()?;
                    if mids.len() > MAX_MEDIA {
                        return Err(SdpError::TooMany {
                            line: line.number,
                            what: "mids",
                            limit: MAX_MEDIA,
                        });
                    }
                    line.push(&mut self.description.bundles, mids, MAX_REPEATED, "groups")?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Attributes that sessions and m-lines have alike. Says whether it was one.
fn transport_attribute(
    line: Line<'_>,
    transport: &mut TransportAttributes,
    name: &str,
    value: &str,
) -> Result<bool, SdpError> {
    match name {
        // RFC 8839 §5.4.
        "ice-ufrag" if is_ice_chars(value, 4) => transport.ice_ufrag = Some(value.to_owned()),
        "ice-pwd" if is_ice_chars(value, 22) => transport.ice_pwd = Some(value.to_owned()),
        "ice-ufrag" | "ice-pwd" => return Err(line.malformed("ICE credential")),
        "fingerprint" => {
            if let Some(fingerprint) = fingerprint(value) {
                line.push(&mut transport.fingerprints, fingerprint, MAX_REPEATED, "fingerprints")?;
            }
        }
        "setup" => {
            transport.setup = Some(match value {
                "active" => Setup::Active,
                "passive" => Setup::Passive,
                "actpass" => Setup::ActPass,
                "holdconn" => Setup::HoldConn,
                _ => return Err(line.malformed("setup")),
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `a=rtpmap` (RFC 8866 §6.6) and `a=fmtp` (§6.15). Those of payload types that the m-line does not list are passed over.
fn codec_attribute(
    line: Line<'_>,
    media: &mut Media,
    payloads: &HashMap<u8, usize>,
    name: &str,
    value: &str,
) -> Result<(), SdpError> {
    let (number, value) = value.split_once([' ', '\t']).ok_or(line.malformed("codec"))?;
    let Ok(number) = number.parse::<u8>() else {
        return Ok(());
    };
    let Some(codec) = payloads.get(&number).and_then(|index| media.codecs.get_mut(*index)) else {
        return Ok(());
    };
    if name == "fmtp" {
        codec.fmtp = value.trim().to_owned();
        return Ok(());
    }
    let mut fields = value.trim().split('/');
    let (Some(name), Some(clock_rate)) = (fields.next(), fields.next()) else {
        return Err(line.malformed("rtpmap"));
    };
    if !is_token(name) {
        return Err(line.malformed("rtpmap"));
    }
    codec.name = name.to_owned();
    codec.clock_rate = clock_rate.parse().map_err(|_| line.malformed("clock rate"))?;
    codec.channels = match fields.next() {
        Some(channels) => channels.parse().map_err(|_| line.malformed("channels"))?,
        None => 0,
    };
    Ok(())
}

/// `a=rtcp-fb` (RFC 4585 §4.2).
fn feedback(
    line: Line<'_>,
    media: &mut Media,
    payloads: &HashMap<u8, usize>,
    wildcard: &mut Vec<String>,
    value: &str,
) -> Result<(), SdpError> {
    let (number, value) = value.split_once([' ', '\t']).ok_or(line.malformed("rtcp-fb"))?;
    let value = value.trim().to_owned();
    if number == "*" {
        return line.push(wildcard, value, MAX_REPEATED, "rtcp-fb");
    }
    let Ok(number) = number.parse::<u8>() else {
        return Ok(());
    };
    match payloads.get(&number).and_then(|index| media.codecs.get_mut(*index)) {
        Some(codec) => line.push(&mut codec.feedback, value, MAX_REPEATED, "rtcp-fb"),
        None => Ok(()),
    }
}

fn media_attribute(line: Line<'_>, media: &mut Media, name: &str, value: &str) -> Result<(), SdpError> {
    match name {
        "mid" => media.mid = Some(tag(line, value, "mid")?),
        "bundle-only" => media.bundle_only = true,
        "rtcp-mux" => media.rtcp_mux = true,
        "rtcp-rsize" => media.rtcp_rsize = true,
        "end-of-candidates" => media.end_of_candidates = true,
        "candidate" => {
            let candidate = Candidate::parse(value).filter(|_| media.candidates.len() < MAX_CANDIDATES);
            media.candidates.extend(candidate);
        }
        "extmap" => {
            let extension = extmap(line, value)?;
            line.push(&mut media.extensions, extension, MAX_REPEATED, "extensions")?;
        }
        "msid" => {
            let mut fields = value.split_ascii_whitespace().map(str::to_owned);
            let msid = (
                fields.next().ok_or(line.malformed("msid"))?,
                fields.next().unwrap_or_default(),
            );
            line.push(&mut media.msids, msid, MAX_REPEATED, "msids")?;
        }
        "ssrc" => source(line, media, value)?,
        "ssrc-group" => source_group(line, media, value)?,
        "rid" => rid(line, media, value)?,
        "simulcast" => media.simulcast = Some(simulcast(line, value)?),
        "sctp-port" => media.sctp_port = Some(value.parse().map_err(|_| line.malformed("sctp-port"))?),
        "max-message-size" => {
            media.max_message_size = Some(value.parse().map_err(|_| line.malformed("max-message-size"))?);
        }
        _ => {}
    }
    Ok(())
}
