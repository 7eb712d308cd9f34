//! Brings a client's transport up, over a link that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::engine::Engine;
use caside_media::parameters::{DtlsParameters, DtlsRole, IceCredentials, Path, RouterId, TransportId};
use caside_media::send_buffer::SendBuffer;
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_srtp::context::Context;

use super::client::{Check, ClientDtls, DtlsOptions, provider};

/// A client whose transport is secured.
pub(crate) struct Connected {
    pub(crate) path: Path,
    /// The engine's ICE credentials.
    pub(crate) local: IceCredentials,
    /// The client's.
    pub(crate) remote: IceCredentials,
    pub(crate) dtls: ClientDtls,
    /// Seals what the client sends.
    pub(crate) seal: Context,
    /// Opens what it receives.
    pub(crate) open: Context,
}

impl Connected {
    pub(crate) fn check(&self) -> Vec<u8> {
        Check::new(&self.local, &self.remote).datagram()
    }
}

/// The path of a client with this port.
pub(crate) fn path(port: u16) -> Path {
    let local = SocketAddr::from(([198, 51, 100, 1], 7000));
    Path {
        local,
        remote: SocketAddr::from(([203, 0, 113, 5], port)),
        tcp: false,
    }
}

/// One for all clients of a test: making keys takes longer than a handshake.
pub(crate) fn certificate() -> Certificate {
    static CERTIFICATE: std::sync::LazyLock<Arc<std::sync::Mutex<Certificate>>> = std::sync::LazyLock::new(|| {
        let made = Certificate::generate_self_signed(vec!["client".to_owned()], provider().crypto()).unwrap();
        Arc::new(std::sync::Mutex::new(made))
    });
    CERTIFICATE.lock().unwrap().clone()
}

/// Opens a transport and secures it. Whatever else the engine had to send in between is lost. Without `nominate` the client
/// checks its path and leaves it at that, as browsers do for some 50 ms.
pub(crate) fn connect(
    engine: &mut Engine,
    now: Instant,
    router: RouterId,
    transport: TransportId,
    port: u16,
    nominate: bool,
) -> Connected {
    let (local, remote) = (IceCredentials::random(), IceCredentials::random());
    let path = path(port);
    let mut dtls = ClientDtls::new(DtlsOptions {
        profiles: vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
        certificate: certificate(),
        role: DtlsRole::Client,
    });
    engine.handle(
        now,
        Command::OpenTransport {
            router,
            transport,
            local: local.clone(),
        },
    );
    let parameters = DtlsParameters {
        role: DtlsRole::Server,
        fingerprints: vec![dtls.fingerprint("sha-256")],
    };
    engine.handle(
        now,
        Command::ConnectTransport {
            transport,
            local: None,
            remote: Some(remote.clone()),
            dtls: parameters,
        },
    );
    let check = Check {
        nominate,
        ..Check::new(&local, &remote)
    };
    engine.receive(now, path, &mut check.datagram());
    dtls.begin(now);
    let mut out = SendBuffer::default();
    for step in 0..200 {
        let now = now + Duration::from_micros(step);
        for datagram in dtls.transmits() {
            engine.receive(now, path, &mut datagram.to_vec());
        }
        engine.flush(now, &mut out);
        for (to, datagram) in out.iter() {
            if to == path && (20..=63).contains(&datagram[0]) {
                dtls.receive(now, datagram);
            }
        }
        out.clear();
        if dtls.complete && step > 20 {
            break;
        }
    }
    assert!(dtls.complete, "the handshake did not complete");
    let (seal, open) = dtls.srtp();
    Connected {
        path,
        local,
        remote,
        dtls,
        seal,
        open,
    }
}
