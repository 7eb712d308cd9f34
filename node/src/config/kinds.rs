//! The types of configuration values. Each reads itself from text, so that a flag, a variable and a file mean the same,
//! and each writes itself back as text for `caside config print`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use caside_protocol::server::IceServer;
use serde::{Serialize, Serializer};

/// A whole number between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// A bounded number that is known when the program is built.
    pub(crate) const fn of(value: u64) -> Self {
        assert!(value >= MIN && value <= MAX, "a default lies between its bounds");
        Self(value)
    }

    /// The number.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// The number as `u32`; no bound in use lies above.
    pub(crate) fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Bounded<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value: u64 = text.trim().parse().map_err(|_| "not a whole number".to_owned())?;
        if (MIN..=MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err("out of range".to_owned())
        }
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Bounded<MIN, MAX> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

/// An amount of bytes, written with a binary unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataSize(pub(crate) u64);

const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for DataSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, unit) = SIZE_UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((text, 1));
        let number: u64 = number.trim().parse().map_err(|_| "not a size".to_owned())?;
        number
            .checked_mul(unit)
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| "out of range".to_owned())
    }
}

impl fmt::Display for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = SIZE_UNITS
            .iter()
            .find(|(_, unit)| self.0.is_multiple_of(*unit))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A length of time, written with a unit; at most 7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const SPAN_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Span {
    /// The longest that can be configured.
    pub(crate) const MAX_MS: u64 = 7 * 86_400_000;
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, unit) = SPAN_UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .ok_or_else(|| "has no unit".to_owned())?;
        let number: u64 = number.trim().parse().map_err(|_| "not a length of time".to_owned())?;
        number
            .checked_mul(unit)
            .filter(|ms| *ms <= Self::MAX_MS)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| "out of range".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let (name, unit) = SPAN_UNITS
            .iter()
            .rev()
            .find(|(_, unit)| ms > 0 && ms.is_multiple_of(u128::from(*unit)))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / u128::from(*unit))
    }
}

/// A secret of at least `MIN` bytes; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret<const MIN: usize>(String);

impl<const MIN: usize> Secret<MIN> {
    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize> FromStr for Secret<MIN> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() < MIN {
            return Err("too short".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl<const MIN: usize> fmt::Debug for Secret<MIN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<const MIN: usize> fmt::Display for Secret<MIN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Where the database is; shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL with its password.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if known
            .iter()
            .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("no database URL of a kind that is known".to_owned())
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where Redis is; shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    /// The URL with its password.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let known = ["redis://", "rediss://"];
        if known
            .iter()
            .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("no address of Redis".to_owned())
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl HostPort {
    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').ok_or_else(|| "has no port".to_owned())?;
        let in_brackets = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !in_brackets) {
            return Err("has no host".to_owned());
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self(text.to_owned())),
            _ => Err("has no port".to_owned()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL with `***` where its password is, in the user information (RFC 3986 §3.2.1) or in the query.
fn without_password(url: &str) -> String {
    let (head, query) = url.split_once('?').unwrap_or((url, ""));
    let head = match head.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split_once(':').map_or(user, |(name, _)| name);
                format!("{scheme}://{user}:***@{host}")
            }
            None => head.to_owned(),
        },
        None => head.to_owned(),
    };
    if query.is_empty() {
        return head;
    }
    let query: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{head}?{}", query.join("&"))
}

/// A web origin: `https://host[:port]`, lower case (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    /// As browsers send it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let authority = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| "not an origin".to_owned())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err("not an origin".to_owned());
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The STUN and TURN servers that clients are told of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IceServers(pub(crate) Vec<IceServer>);

impl IceServers {
    /// Checks what a type cannot say.
    pub(crate) fn checked(servers: Vec<IceServer>) -> Result<Self, String> {
        if servers.len() > 32 {
            return Err("more than 32 servers".to_owned());
        }
        for server in &servers {
            let turn = |url: &String| url.starts_with("turn:") || url.starts_with("turns:");
            let stun = |url: &String| url.starts_with("stun:") || url.starts_with("stuns:");
            if server.urls.is_empty() || !server.urls.iter().all(|url| turn(url) || stun(url)) {
                return Err("a server's URL is neither STUN nor TURN".to_owned());
            }
            if server.urls.iter().any(turn) && (server.username.is_none() || server.credential.is_none()) {
                return Err("a TURN server lacks username or credential".to_owned());
            }
        }
        Ok(Self(servers))
    }
}

impl FromStr for IceServers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('[') {
            return Self::checked(serde_json::from_str(text).map_err(|e| format!("not a JSON list of servers: {e}"))?);
        }
        let plain = |url: &str| IceServer {
            urls: vec![url.to_owned()],
            username: None,
            credential: None,
        };
        Self::checked(
            text.split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
                .map(plain)
                .collect(),
        )
    }
}

impl Serialize for IceServers {
    /// Without credentials: this is what `config print` shows.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let shown = self.0.iter().map(|server| IceServer {
            credential: server.credential.as_ref().map(|_| "(hidden)".to_owned()),
            ..server.clone()
        });
        s.collect_seq(shown)
    }
}

/// The address of a TURN server (RFC 7065): `turn:host[:port][?transport=udp|tcp]`, or `turns:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TurnUrl(String);

impl FromStr for TurnUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let rest = text.strip_prefix("turn:").or_else(|| text.strip_prefix("turns:"));
        let rest = rest.ok_or_else(|| "not a TURN URL".to_owned())?;
        let (host, query) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(plain) || !matches!(query, "transport=udp" | "transport=tcp") {
            return Err("not a TURN URL".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("unknown format".to_owned()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Which log lines are written, as `RUST_LOG` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    /// The directives.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::try_new(text).map_err(|e| e.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("empty".to_owned());
        }
        Ok(Self(PathBuf::from(text)))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A word that is not empty: a bucket, a region, an access key's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word(String);

impl Word {
    /// The word.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("empty, or with blanks".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of an S3-compatible service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl(String);

impl HttpUrl {
    /// The URL.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: hyper::Uri = text.trim().parse().map_err(|_| "not a URL".to_owned())?;
        match (url.scheme_str(), url.host()) {
            (Some("http" | "https"), Some(_)) => Ok(Self(text.trim().to_owned())),
            _ => Err("not an http or https URL".to_owned()),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
