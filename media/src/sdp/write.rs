//! Model to text.

use std::fmt::{self, Display, Formatter};

use super::model::{
    Bandwidth, Description, Media, RtpCodec, Setup, Simulcast, SimulcastId, Source, TransportAttributes,
};
use crate::parameters::Fingerprint;

impl Display for Description {
    /// The description's text, with CRLF after every line (RFC 8866 §5). Lines are in the order that RFC 8866 §9 has.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
            self.session_id, self.session_version
        )?;
        if self.ice_lite {
            f.write_str("a=ice-lite\r\n")?;
        }
        for mids in &self.bundles {
            f.write_str("a=group:BUNDLE")?;
            mids.iter().try_for_each(|mid| write!(f, " {mid}"))?;
            f.write_str("\r\n")?;
        }
        if self.extmap_allow_mixed {
            f.write_str("a=extmap-allow-mixed\r\n")?;
        }
        transport(f, &self.transport)?;
        self.media.iter().try_for_each(|item| media(f, item))
    }
}

fn media(f: &mut Formatter<'_>, media: &Media) -> fmt::Result {
    write!(f, "m={} {} {}", media.media.as_str(), media.port, media.protocol)?;
    media
        .codecs
        .iter()
        .try_for_each(|codec| write!(f, " {}", codec.payload_type.0))?;
    media.formats.iter().try_for_each(|format| write!(f, " {format}"))?;
    match media.address {
        Some(address) if address.is_ipv6() => write!(f, "\r\nc=IN IP6 {address}\r\n")?,
        Some(address) => write!(f, "\r\nc=IN IP4 {address}\r\n")?,
        None => f.write_str("\r\nc=IN IP4 0.0.0.0\r\n")?,
    }
    for bandwidth in &media.bandwidth {
        match bandwidth {
            Bandwidth::ApplicationSpecific(kbps) => write!(f, "b=AS:{kbps}\r\n")?,
            Bandwidth::TransportIndependent(bps) => write!(f, "b=TIAS:{bps}\r\n")?,
        }
    }
    if let Some(mid) = &media.mid {
        write!(f, "a=mid:{mid}\r\n")?;
    }
    flag(f, media.bundle_only, "bundle-only")?;
    write!(f, "a={}\r\n", media.direction.as_str())?;
    transport(f, &media.transport)?;
    for (index, candidate) in media.candidates.iter().enumerate() {
        write!(f, "a=candidate:{}\r\n", candidate.display(index))?;
    }
    flag(f, media.end_of_candidates, "end-of-candidates")?;
    flag(f, media.rtcp_mux, "rtcp-mux")?;
    flag(f, media.rtcp_rsize, "rtcp-rsize")?;
    media.codecs.iter().try_for_each(|item| codec(f, item))?;
    for extension in &media.extensions {
        write!(f, "a=extmap:{}", extension.id)?;
        if let Some(direction) = extension.direction {
            write!(f, "/{}", direction.as_str())?;
        }
        write!(f, " {}\r\n", extension.uri)?;
    }
    streams(f, media)?;
    if let Some(port) = media.sctp_port {
        write!(f, "a=sctp-port:{port}\r\n")?;
    }
    if let Some(size) = media.max_message_size {
        write!(f, "a=max-message-size:{size}\r\n")?;
    }
    Ok(())
}

fn flag(f: &mut Formatter<'_>, set: bool, name: &str) -> fmt::Result {
    if set { write!(f, "a={name}\r\n") } else { Ok(()) }
}

fn transport(f: &mut Formatter<'_>, transport: &TransportAttributes) -> fmt::Result {
    if let Some(ufrag) = &transport.ice_ufrag {
        write!(f, "a=ice-ufrag:{ufrag}\r\n")?;
    }
    if let Some(pwd) = &transport.ice_pwd {
        write!(f, "a=ice-pwd:{pwd}\r\n")?;
    }
    transport
        .fingerprints
        .iter()
        .try_for_each(|item| fingerprint(f, item))?;
    match transport.setup {
        Some(Setup::Active) => f.write_str("a=setup:active\r\n"),
        Some(Setup::Passive) => f.write_str("a=setup:passive\r\n"),
        Some(Setup::ActPass) => f.write_str("a=setup:actpass\r\n"),
        Some(Setup::HoldConn) => f.write_str("a=setup:holdconn\r\n"),
        None => Ok(()),
    }
}

/// RFC 8122 §5: upper case hexadecimal, colons between the bytes.
fn fingerprint(f: &mut Formatter<'_>, fingerprint: &Fingerprint) -> fmt::Result {
    write!(f, "a=fingerprint:{} ", fingerprint.algorithm)?;
    for (index, byte) in fingerprint.digest.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        write!(f, "{colon}{byte:02X}")?;
    }
    f.write_str("\r\n")
}

fn codec(f: &mut Formatter<'_>, codec: &RtpCodec) -> fmt::Result {
    let number = codec.payload_type.0;
    if !codec.name.is_empty() {
        write!(f, "a=rtpmap:{number} {}/{}", codec.name, codec.clock_rate)?;
        if codec.channels > 0 {
            write!(f, "/{}", codec.channels)?;
        }
        f.write_str("\r\n")?;
    }
    for feedback in &codec.feedback {
        write!(f, "a=rtcp-fb:{number} {feedback}\r\n")?;
    }
    if !codec.fmtp.is_empty() {
        write!(f, "a=fmtp:{number} {}\r\n", codec.fmtp)?;
    }
    Ok(())
}

/// What is said of the media streams themselves.
fn streams(f: &mut Formatter<'_>, media: &Media) -> fmt::Result {
    for (stream, track) in &media.msids {
        let space = if track.is_empty() { "" } else { " " };
        write!(f, "a=msid:{stream}{space}{track}\r\n")?;
    }
    for rid in &media.rids {
        let way = if rid.send { "send" } else { "recv" };
        let space = if rid.restrictions.is_empty() { "" } else { " " };
        write!(f, "a=rid:{} {way}{space}{}\r\n", rid.id, rid.restrictions)?;
    }
    if let Some(value) = &media.simulcast {
        simulcast(f, value)?;
    }
    for group in &media.source_groups {
        write!(f, "a=ssrc-group:{}", group.semantics)?;
        group.ssrcs.iter().try_for_each(|ssrc| write!(f, " {}", ssrc.0))?;
        f.write_str("\r\n")?;
    }
    media.sources.iter().try_for_each(|item| source(f, item))
}

fn source(f: &mut Formatter<'_>, source: &Source) -> fmt::Result {
    let ssrc = source.ssrc.0;
    if let Some(cname) = &source.cname {
        write!(f, "a=ssrc:{ssrc} cname:{cname}\r\n")?;
    }
    if let Some(msid) = &source.msid {
        write!(f, "a=ssrc:{ssrc} msid:{msid}\r\n")?;
    }
    if source.cname.is_none() && source.msid.is_none() {
        write!(f, "a=ssrc:{ssrc}\r\n")?;
    }
    Ok(())
}

fn simulcast(f: &mut Formatter<'_>, simulcast: &Simulcast) -> fmt::Result {
    f.write_str("a=simulcast:")?;
    let mut space = "";
    for (way, streams) in [("send", &simulcast.send), ("recv", &simulcast.recv)] {
        if !streams.is_empty() {
            let streams: Vec<String> = streams.iter().map(|ids| simulcast_stream(ids)).collect();
            write!(f, "{space}{way} {}", streams.join(";"))?;
            space = " ";
        }
    }
    f.write_str("\r\n")
}

fn simulcast_stream(ids: &[SimulcastId]) -> String {
    let ids: Vec<String> = ids
        .iter()
        .map(|id| format!("{}{}", if id.paused { "~" } else { "" }, id.rid))
        .collect();
    ids.join(",")
}
