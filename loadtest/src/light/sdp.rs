//! Descriptions of a client that needs next to nothing of what they can say.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context, Result};
use caside_media::parameters::{IceCredentials, MediaKind};
use caside_media::sdp::model::{Description, Media};

use super::dtls::Identity;
use super::source::extension;

/// The URI by which transport-wide sequence numbers are negotiated.
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What the node's description says of its end.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// For checks.
    pub(crate) ice: IceCredentials,
    /// Where it receives.
    pub(crate) address: SocketAddrV4,
    /// The id of transport-wide sequence numbers, when the description has them.
    pub(crate) transport_cc: Option<u8>,
    /// Payload types of retransmissions, one bit each.
    pub(crate) rtx: u128,
}

impl Remote {
    /// Reads a description of the node's.
    pub(crate) fn read(sdp: &str) -> Result<Self> {
        let description = caside_media::sdp::parse(sdp)?;
        let live = || description.media.iter().filter(|media| !media.is_rejected());
        let ice = live().find_map(|media| description.transport_of(media).credentials());
        let candidates = live().flat_map(|media| &media.candidates);
        let mut addresses = candidates.filter_map(|candidate| match candidate.address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        });
        // On loopback, where the node is on this machine.
        let first = addresses.next().context("the node offers no candidate of IPv4")?;
        let address = if first.ip().is_loopback() {
            first
        } else {
            addresses.find(|address| address.ip().is_loopback()).unwrap_or(first)
        };
        let codecs = live().flat_map(|media| &media.codecs);
        let rtx = codecs
            .filter(|codec| codec.name.eq_ignore_ascii_case("rtx"))
            .fold(0, |bits, codec| bits | 1u128 << (codec.payload_type.0 & 0x7f));
        Ok(Self {
            ice: ice.context("the node gives no ICE credentials")?,
            address,
            transport_cc: live()
                .flat_map(|media| &media.extensions)
                .find(|extension| extension.uri == TRANSPORT_CC)
                .map(|extension| extension.id),
            rtx,
        })
    }
}

/// The SSRC of each m-line that the node sends on, by its mid; retransmissions' are not in it.
pub(crate) fn ssrcs(offer: &str) -> Result<HashMap<String, u32>> {
    let offer = caside_media::sdp::parse(offer)?;
    let sending = offer.media.iter().filter(|media| media.direction.sends());
    Ok(sending
        .filter_map(|media| Some((media.mid.clone()?, media.sources.first()?.ssrc.0)))
        .collect())
}

/// One track of an offer.
#[derive(Debug, Clone)]
pub(crate) struct OfferedTrack {
    pub(crate) kind: MediaKind,
    /// Of the only stream; several are named in their packets.
    pub(crate) ssrc: u32,
    /// The names of several streams, lowest first.
    pub(crate) rids: Vec<&'static str>,
}

/// Payload types of our offers.
pub(crate) const OPUS: u8 = 111;
/// Payload types of our offers.
pub(crate) const VP8: u8 = 96;

/// An offer to publish tracks, and data channels if `data`; mids count from 0.
pub(crate) fn offer(tracks: &[OfferedTrack], data: bool, ice: &IceCredentials, identity: &Identity) -> Result<String> {
    let sections = tracks.len() + usize::from(data);
    let mids: Vec<String> = (0..sections).map(|mid| mid.to_string()).collect();
    let mut sdp = head(&mids)?;
    for (mid, track) in mids.iter().zip(tracks) {
        let (kind, payload_types) = match track.kind {
            MediaKind::Audio => ("audio", format!("{OPUS}")),
            MediaKind::Video => ("video", format!("{VP8}")),
        };
        write!(
            sdp,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_types}\r\nc=IN IP4 0.0.0.0\r\n"
        )?;
        transport(&mut sdp, mid, ice, identity, "actpass")?;
        write!(sdp, "a=sendonly\r\na=rtcp-mux\r\na=msid:bot {kind}\r\n")?;
        write!(
            sdp,
            "a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
            extension::MID
        )?;
        write!(sdp, "a=extmap:{} {TRANSPORT_CC}\r\n", extension::TRANSPORT_CC)?;
        match track.kind {
            MediaKind::Audio => {
                let id = extension::AUDIO_LEVEL;
                write!(sdp, "a=extmap:{id} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n")?;
                write!(sdp, "a=rtpmap:{OPUS} opus/48000/2\r\na=rtcp-fb:{OPUS} transport-cc\r\n")?;
            }
            MediaKind::Video => {
                write!(sdp, "a=rtpmap:{VP8} VP8/90000\r\n")?;
                for feedback in ["nack", "nack pli", "ccm fir", "transport-cc"] {
                    write!(sdp, "a=rtcp-fb:{VP8} {feedback}\r\n")?;
                }
            }
        }
        streams(&mut sdp, track)?;
    }
    if let Some(mid) = mids.get(tracks.len()) {
        sdp.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n");
        transport(&mut sdp, mid, ice, identity, "actpass")?;
        sdp.push_str("a=sctp-port:5000\r\na=max-message-size:65536\r\n");
    }
    Ok(sdp)
}

/// What an m-line says of its streams: an SSRC, or the names by which several are told apart (RFC 8853 §5.1).
fn streams(sdp: &mut String, track: &OfferedTrack) -> Result<()> {
    if track.rids.is_empty() {
        write!(sdp, "a=ssrc:{} cname:bot\r\n", track.ssrc)?;
        return Ok(());
    }
    let id = extension::RID;
    write!(sdp, "a=extmap:{id} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n")?;
    for rid in &track.rids {
        write!(sdp, "a=rid:{rid} send\r\n")?;
    }
    write!(sdp, "a=simulcast:send {}\r\n", track.rids.join(";"))?;
    Ok(())
}

/// The answer to an offer of the node's: everything is taken as it is offered.
pub(crate) fn answer(offer: &str, ice: &IceCredentials, identity: &Identity) -> Result<String> {
    let offer = caside_media::sdp::parse(offer)?;
    let mid = |media: &Media| media.mid.clone().unwrap_or_default();
    let mids: Vec<String> = offer
        .media
        .iter()
        .filter(|media| !media.is_rejected())
        .map(mid)
        .collect();
    let mut sdp = head(&mids)?;
    for media in &offer.media {
        section(&mut sdp, &offer, media, ice, identity)?;
    }
    Ok(sdp)
}

fn section(
    sdp: &mut String,
    offer: &Description,
    media: &Media,
    ice: &IceCredentials,
    identity: &Identity,
) -> Result<()> {
    let formats: Vec<String> = if media.is_rtp() {
        media
            .codecs
            .iter()
            .map(|codec| codec.payload_type.0.to_string())
            .collect()
    } else {
        media.formats.clone()
    };
    let (kind, protocol, formats) = (media.media.as_str(), &media.protocol, formats.join(" "));
    let mid = media.mid.clone().unwrap_or_default();
    if media.is_rejected() {
        write!(
            sdp,
            "m={kind} 0 {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=inactive\r\n"
        )?;
        return Ok(());
    }
    write!(sdp, "m={kind} 9 {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\n")?;
    transport(sdp, &mid, ice, identity, "active")?;
    if !media.is_rtp() {
        write!(sdp, "a=sctp-port:5000\r\na=max-message-size:65536\r\n")?;
        return Ok(());
    }
    let direction = if media.direction.sends() {
        "recvonly"
    } else {
        "inactive"
    };
    write!(sdp, "a={direction}\r\na=rtcp-mux\r\n")?;
    if offer.extmap_allow_mixed {
        sdp.push_str("a=extmap-allow-mixed\r\n");
    }
    for extension in &media.extensions {
        write!(sdp, "a=extmap:{} {}\r\n", extension.id, extension.uri)?;
    }
    for codec in &media.codecs {
        let id = codec.payload_type.0;
        write!(sdp, "a=rtpmap:{id} {}/{}", codec.name, codec.clock_rate)?;
        if codec.channels > 1 {
            write!(sdp, "/{}", codec.channels)?;
        }
        sdp.push_str("\r\n");
        if !codec.fmtp.is_empty() {
            write!(sdp, "a=fmtp:{id} {}\r\n", codec.fmtp)?;
        }
        for feedback in &codec.feedback {
            write!(sdp, "a=rtcp-fb:{id} {feedback}\r\n")?;
        }
    }
    Ok(())
}

fn head(mids: &[String]) -> Result<String> {
    let mut sdp = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    write!(sdp, "a=group:BUNDLE {}\r\na=msid-semantic: WMS\r\n", mids.join(" "))?;
    Ok(sdp)
}

fn transport(sdp: &mut String, mid: &str, ice: &IceCredentials, identity: &Identity, setup: &str) -> Result<()> {
    write!(
        sdp,
        "a=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        ice.ufrag, ice.pwd
    )?;
    write!(sdp, "a=fingerprint:{}\r\na=setup:{setup}\r\n", identity.fingerprint)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use caside_media::parameters::{Fingerprint, ProducerId};
    use caside_media::sdp::{CodecPolicy, LocalDescription, PublishSession};

    use super::*;

    fn track(kind: MediaKind, ssrc: u32, rids: &[&'static str]) -> OfferedTrack {
        OfferedTrack {
            kind,
            ssrc,
            rids: rids.to_vec(),
        }
    }

    #[test]
    fn offers_and_answers_can_be_read() {
        let identity = Identity::generate().unwrap();
        let ice = IceCredentials::random();
        let tracks = [track(MediaKind::Audio, 5, &[]), track(MediaKind::Video, 6, &[])];
        let offer = offer(&tracks, true, &ice, &identity).unwrap();
        let description = caside_media::sdp::parse(&offer).unwrap();
        assert_eq!(description.media.len(), 3);
        assert!(!description.media[2].is_rtp());
        assert_eq!(description.media[1].sources[0].ssrc.0, 6);
        let of = |mid: &str, ssrc| (mid.to_owned(), ssrc);
        assert_eq!(ssrcs(&offer).unwrap(), HashMap::from([of("0", 5), of("1", 6)]));
        let answer = answer(&offer, &ice, &identity).unwrap();
        let description = caside_media::sdp::parse(&answer).unwrap();
        let mut rtp = description.media.iter().filter(|media| media.is_rtp());
        assert!(rtp.all(|media| !media.direction.sends()));
        assert_eq!(description.media[1].codecs[0].feedback.len(), 4);
    }

    #[test]
    fn a_camera_in_several_sizes_is_taken_by_the_node() {
        let identity = Identity::generate().unwrap();
        let camera = track(MediaKind::Video, 6, &["q", "h", "f"]);
        let offer = offer(&[camera], false, &IceCredentials::random(), &identity).unwrap();
        let local = LocalDescription {
            ice: IceCredentials::random(),
            fingerprint: Fingerprint {
                algorithm: "sha-256".to_owned(),
                digest: vec![7; 32],
            },
            candidates: Vec::new(),
        };
        let mut session = PublishSession::new(local, CodecPolicy::default());
        let answer = session
            .offer(&offer, &mut || ProducerId(1), &mut IceCredentials::random)
            .unwrap();
        let [(mid, _, parameters)] = answer.added.as_slice() else {
            panic!("{answer:?}")
        };
        assert_eq!(mid, "0");
        let rids = parameters.encodings.iter().map(|encoding| encoding.rid.as_deref());
        assert_eq!(rids.collect::<Vec<_>>(), [Some("q"), Some("h"), Some("f")]);
        assert!(parameters.encodings.iter().all(|encoding| encoding.ssrc.is_none()));
        assert_eq!(
            (parameters.extensions.mid, parameters.extensions.rid),
            (Some(extension::MID), Some(extension::RID))
        );
    }
}
