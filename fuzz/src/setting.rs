//! Time, paths and the configuration that all runs have in common.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use caside_media::certificate::Certificate;
use caside_media::parameters::{IceCredentials, Path};
use caside_media::transport::TransportConfig;

/// One certificate: making keys takes longer than anything that is fuzzed.
pub(crate) fn config() -> Arc<TransportConfig> {
    static CONFIG: LazyLock<Arc<TransportConfig>> =
        LazyLock::new(|| Arc::new(TransportConfig::new(Certificate::generate().expect("a certificate"))));
    CONFIG.clone()
}

/// An arbitrary start of virtual time.
pub(crate) fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

/// The path of a client with this port.
pub(crate) fn path(port: u8) -> Path {
    Path {
        local: SocketAddr::from(([198, 51, 100, 1], 7000)),
        remote: SocketAddr::from(([203, 0, 113, 5], 5000 + u16::from(port))),
        tcp: false,
    }
}

/// Credentials that are the same in every run.
pub(crate) fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}Frag"),
        pwd: format!("{name}0123456789abcdefghijkl"),
    }
}

/// How long to wait: mostly a little, rarely up to a minute.
pub(crate) fn wait(ms: u16) -> Duration {
    Duration::from_millis(u64::from(if ms < 64_000 {
        ms % 256
    } else {
        ms.wrapping_sub(64_000).wrapping_mul(40)
    }))
}

/// How far a number goes astray: mostly not at all.
pub(crate) fn astray(by: i8) -> i16 {
    match by {
        100..=i8::MAX => i16::from(by) - 99,
        i8::MIN..=-100 => i16::from(by) + 99,
        _ => 0,
    }
}
