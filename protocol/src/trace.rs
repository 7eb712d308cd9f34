//! W3C Trace Context: what lets a request be followed from program to program.
//!
//! What strangers send is bounded and validated here; what does not hold is as good as not sent (Trace Context §3.2.2, §3.3.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest `tracestate` that is taken on, in bytes (Trace Context §3.3.1.5).
pub const MAX_TRACESTATE: usize = 512;
/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A `traceparent` (Trace Context §3.2): which span of which trace something was done under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace; never all zero.
    pub trace: [u8; 16],
    /// The span; never all zero.
    pub span: [u8; 8],
    /// Trace flags; bit 0: sampled.
    pub flags: u8,
}

/// It is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// Whether whoever made it keeps the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// Reads `version-trace-span-flags` in lower-case hexadecimal digits. Of a later version than 00 more may follow, which is
    /// ignored (§3.2.4).
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let known = text.get(..LENGTH).ok_or(NotATraceParent)?;
        let rest = text.get(LENGTH..).unwrap_or_default();
        let mut parts = known.split('-');
        let mut part = || parts.next().ok_or(NotATraceParent);
        let [version] = bytes(part()?)?;
        let parent = Self {
            trace: bytes(part()?)?,
            span: bytes(part()?)?,
            flags: u8::from_be_bytes(bytes(part()?)?),
        };
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_some = parent.trace != [0; 16] && parent.span != [0; 8];
        (is_whole && is_some && parts.next().is_none())
            .then_some(parent)
            .ok_or(NotATraceParent)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// So many bytes as lower-case hexadecimal digits.
fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], NotATraceParent> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotATraceParent),
    };
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return Err(NotATraceParent);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
    }
    Ok(bytes)
}

/// A trace context as it travels: `traceparent`, and the `tracestate` that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The span.
    pub parent: TraceParent,
    /// What other tracing systems have to say, as it came; at most [`MAX_TRACESTATE`] bytes.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// By the values of the two headers. `None` without a valid `traceparent`; a `tracestate` that is too long or has other bytes
    /// than printable ASCII is left out, the trace goes on without.
    pub fn new(parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = parent.parse().ok()?;
        let is_plain = |state: &&str| state.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t');
        let state = state
            .map(str::trim)
            .filter(|state| !state.is_empty() && state.len() <= MAX_TRACESTATE);
        Some(Self {
            parent,
            state: state.filter(is_plain).map(Into::into),
        })
    }
}

impl From<TraceParent> for TraceContext {
    fn from(parent: TraceParent) -> Self {
        Self { parent, state: None }
    }
}

/// Between nodes: the text of `traceparent`, or of both with a line break between them.
impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.state {
            None => serializer.collect_str(&self.parent),
            Some(state) => serializer.collect_str(&format_args!("{}\n{state}", self.parent)),
        }
    }
}

/// Reads an optional context of a message; whatever is none is as if it were not there.
///
/// # Errors
/// Only those of the reader itself.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceContext>, D::Error> {
    /// Anything: what is not understood is skipped.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Read::deserialize(deserializer)? {
        Read::Text(text) => match text.split_once('\n') {
            Some((parent, state)) => TraceContext::new(parent, Some(state)),
            None => TraceContext::new(&text, None),
        },
        Read::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_it_came() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert!(parent.is_sampled());
        assert_eq!(parent.trace[..2], [0x4b, 0xf9]);
        assert_eq!(parent.to_string(), GOOD);
        let unsampled: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            .parse()
            .unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn later_versions_may_say_more_and_this_one_may_not() {
        let rest = GOOD.strip_prefix("00").unwrap();
        let later = format!("cc{rest}");
        assert!(later.parse::<TraceParent>().is_ok());
        assert!(format!("{later}-what-comes").parse::<TraceParent>().is_ok());
        assert!(format!("{later}.what").parse::<TraceParent>().is_err());
        assert!(format!("{GOOD}-more").parse::<TraceParent>().is_err());
        assert!(format!("ff{rest}").parse::<TraceParent>().is_err());
    }

    #[test]
    fn what_is_malformed_is_none() {
        for bad in [
            "",
            "00",
            "hello",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NotATraceParent), "{bad:?}");
            assert_eq!(TraceContext::new(bad, Some("a=b")), None);
        }
    }

    #[test]
    fn a_tracestate_is_bounded_and_never_costs_the_trace() {
        let state = |state: &str| TraceContext::new(GOOD, Some(state)).unwrap().state;
        assert_eq!(state("vendor=1,other=2").as_deref(), Some("vendor=1,other=2"));
        assert_eq!(state(" "), None);
        assert_eq!(state(&"x".repeat(MAX_TRACESTATE + 1)), None);
        assert_eq!(state("a=\u{1}"), None);
        assert_eq!(state("a=b\nc"), None);
    }
}
