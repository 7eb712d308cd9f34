//! Fragments of descriptions, for candidates and ICE restarts (RFC 8840 §9, RFC 9725 §4.3).

use caside_protocol::error::{ErrorCode, Refusal};

/// Their media type.
pub(crate) const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";

const UFRAG: &str = "a=ice-ufrag:";
const PWD: &str = "a=ice-pwd:";

/// The client's ICE credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    ufrag: String,
    pwd: String,
}

/// What of a fragment matters to an ICE-lite agent: its candidates need not be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) credentials: Option<Credentials>,
}

/// Reads a fragment.
///
/// # Errors
/// `bad_sdp`: a line that is none of SDP's, or half of the credentials.
pub(super) fn read(text: &str) -> Result<Fragment, Refusal> {
    let bad = |why: &str| Refusal::new(ErrorCode::BadSdp, format!("the fragment cannot be used: {why}"));
    for line in text.lines().filter(|line| !line.is_empty()) {
        let is_line = matches!(line.as_bytes(), [kind, b'=', ..] if kind.is_ascii_lowercase());
        if !is_line {
            return Err(bad("a line is not of the form <type>=<value>"));
        }
    }
    let of = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end);
    let credentials = match (of(UFRAG), of(PWD)) {
        (None, None) => None,
        (Some(ufrag), Some(pwd)) if is_ice(ufrag, 4) && is_ice(pwd, 22) => Some(Credentials {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        }),
        _ => return Err(bad("a=ice-ufrag and a=ice-pwd must come together and be of ice-chars")),
    };
    Ok(Fragment { credentials })
}

/// RFC 8839 §5.4.
fn is_ice(text: &str, at_least: usize) -> bool {
    (at_least..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The offer with these credentials; `None` when they are the offer's own, so that nothing is restarted.
pub(super) fn restarted(offer: &str, credentials: &Credentials) -> Option<String> {
    let replaced = |line: &str| {
        if line.starts_with(UFRAG) {
            format!("{UFRAG}{}", credentials.ufrag)
        } else if line.starts_with(PWD) {
            format!("{PWD}{}", credentials.pwd)
        } else {
            line.to_owned()
        }
    };
    let is_same = offer
        .lines()
        .any(|line| line.strip_prefix(UFRAG) == Some(credentials.ufrag.as_str()));
    let text: String = offer.lines().map(|line| replaced(line) + "\r\n").collect();
    (!is_same).then_some(text)
}

/// The name of an answer's ICE session: our ufrag in it, quoted. `None` without one.
pub(super) fn etag(answer: &str) -> Option<String> {
    let ufrag = answer.lines().find_map(|line| line.strip_prefix(UFRAG))?;
    Some(format!("\"{ufrag}\""))
}

/// The part of our answer that an ICE restart needs.
pub(super) fn of_answer(answer: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut media = 0;
    for line in answer.lines() {
        let of_ice = [
            "a=ice-lite",
            "a=ice-options:",
            "a=group:BUNDLE",
            "a=mid:",
            UFRAG,
            PWD,
            "a=candidate:",
            "a=end-of-candidates",
        ];
        if line.starts_with("m=") {
            media += 1;
            // With BUNDLE, the first m-line speaks for all.
            if media == 1 {
                lines.push(line);
            }
        } else if media <= 1 && of_ice.iter().any(|prefix| line.starts_with(prefix)) {
            lines.push(line);
        }
    }
    lines.join("\r\n") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str =
        "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";

    #[test]
    fn candidates_alone_restart_nothing() {
        let fragment =
            read("a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n").unwrap();
        assert_eq!(fragment.credentials, None);
        let same = read("a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n").unwrap();
        assert_eq!(restarted(OFFER, &same.credentials.unwrap()), None);
    }

    #[test]
    fn other_credentials_make_the_offer_a_restart() {
        let new = read("a=ice-ufrag:efgh\r\na=ice-pwd:abcdefghijabcdefghijab\r\n").unwrap();
        let offer = restarted(OFFER, &new.credentials.unwrap()).unwrap();
        assert_eq!(
            offer,
            OFFER
                .replace("abcd", "efgh")
                .replace("0123456789012345678901", "abcdefghijabcdefghijab")
        );
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for text in [
            "hello",
            "{\"candidate\":1}",
            "a=ice-ufrag:abcd\r\n",
            "a=ice-ufrag:ab\r\na=ice-pwd:0123456789012345678901\r\n",
            "a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n",
            "a=ice-ufrag:ab cd\r\na=ice-pwd:0123456789012345678901\r\n",
        ] {
            assert_eq!(read(text).unwrap_err().code, ErrorCode::BadSdp, "{text}");
        }
    }

    #[test]
    fn the_answers_fragment_has_ice_of_the_first_m_line() {
        let answer = "v=0\r\ns=-\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 7 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\na=ice-ufrag:wxyz\r\na=ice-pwd:p\r\na=rtcp-mux\r\na=candidate:1 1 udp 1 192.0.2.1 7 typ host\r\na=end-of-candidates\r\nm=video 7 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:wxyz\r\n";
        assert_eq!(
            of_answer(answer),
            "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 7 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:wxyz\r\na=ice-pwd:p\r\na=candidate:1 1 udp 1 192.0.2.1 7 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(etag(answer).unwrap(), "\"wxyz\"");
    }
}
