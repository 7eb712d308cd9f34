//! The transport below all m-lines of a connection, as descriptions tell of it: one ICE agent, one DTLS association,
//! everything bundled on it.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::hash::{DefaultHasher, Hash, Hasher};

use super::candidate::CandidateTransport;
use super::error::NegotiateError;
use super::model::{Description, Media, MediaType, Setup, TransportAttributes};
use super::parse::MAX_CANDIDATES;
use super::policy::{Connect, LocalDescription};
use crate::parameters::{DtlsParameters, DtlsRole, IceCredentials};

/// Our end of a connection, and what the client said of its own.
#[derive(Debug)]
pub(super) struct Connection {
    local: LocalDescription,
    remote: Option<Remote>,
    session_id: u64,
    session_version: u64,
}

/// The client's end, and the DTLS role that it leaves to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) ice: IceCredentials,
    pub(super) dtls: DtlsParameters,
}

/// Whose description is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Offer,
    Answer,
}

impl Connection {
    pub(super) fn new(mut local: LocalDescription) -> Self {
        local.candidates.truncate(MAX_CANDIDATES);
        Self {
            session_id: seed(&local.ice) >> 1,
            session_version: 0,
            local,
            remote: None,
        }
    }

    /// A number that is random because our credentials are, and the same for the same credentials.
    pub(super) fn seed(&self) -> u64 {
        seed(&self.local.ice)
    }

    pub(super) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// What the client says of its end, in the first of `sections` that says it: bundled m-lines other than the tagged
    /// one need not (RFC 9143 §7.1.3). `None` when there is no section.
    pub(super) fn read<'a>(
        &self,
        side: Side,
        description: &Description,
        sections: impl Iterator<Item = &'a Media>,
    ) -> Result<Option<Remote>, NegotiateError> {
        let attributes: Vec<TransportAttributes> = sections.map(|media| description.transport_of(media)).collect();
        if attributes.is_empty() {
            return Ok(None);
        }
        let ice = attributes.iter().find_map(TransportAttributes::credentials);
        let ice = ice.ok_or(NegotiateError::MissingIceCredentials)?;
        let fingerprints = attributes
            .iter()
            .map(|from| &from.fingerprints)
            .find(|list| !list.is_empty());
        let fingerprints = fingerprints.ok_or(NegotiateError::MissingFingerprint)?.clone();
        let before = self.remote.as_ref().map(|remote| &remote.dtls);
        if before.is_some_and(|dtls| !dtls.fingerprints.iter().any(|known| fingerprints.contains(known))) {
            return Err(NegotiateError::CertificateChanged);
        }
        let setup = attributes.iter().find_map(|from| from.setup);
        let role = our_role(side, setup, before.map(|dtls| dtls.role))?;
        Ok(Some(Remote {
            ice,
            dtls: DtlsParameters { role, fingerprints },
        }))
    }

    /// Whether the client restarts ICE: other credentials than before (RFC 8839 §4.4.1.1.1).
    pub(super) fn restarts_ice(&self, remote: &Remote) -> bool {
        self.remote.as_ref().is_some_and(|before| before.ice != remote.ice)
    }

    /// Takes new credentials of ours, for the next description.
    pub(super) fn set_credentials(&mut self, credentials: IceCredentials) {
        self.local.ice = credentials;
    }

    /// Keeps what the client said, and tells the engine.
    pub(super) fn connect(&mut self, remote: Remote, local: Option<IceCredentials>) -> Connect {
        let connect = Connect {
            local,
            remote: Some(remote.ice.clone()),
            dtls: remote.dtls.clone(),
        };
        self.remote = Some(remote);
        connect
    }

    /// An m-line of ours that is not rejected, without its attributes. Its default destination is our first candidate
    /// (RFC 8839 §4.2.1.2).
    pub(super) fn section(&self, media: MediaType, protocol: &str) -> Media {
        let first = self
            .local
            .candidates
            .iter()
            .find(|candidate| candidate.transport == CandidateTransport::Udp);
        // RFC 8840 §4.1.1: port 9 while there is no candidate.
        let port = first.map_or(9, |candidate| candidate.address.port().max(1));
        Media {
            address: first.map(|candidate| candidate.address.ip()),
            ..Media::new(media, port, protocol)
        }
    }

    /// Our next description: its m-lines get the transport's attributes, and all that are not rejected are bundled, the
    /// tagged one first when it is named.
    pub(super) fn describe(&mut self, mut media: Vec<Media>, setup: Setup, tagged: Option<&str>) -> Description {
        for section in media.iter_mut().filter(|section| !section.is_rejected()) {
            section.transport = TransportAttributes {
                ice_ufrag: Some(self.local.ice.ufrag.clone()),
                ice_pwd: Some(self.local.ice.pwd.clone()),
                fingerprints: vec![self.local.fingerprint.clone()],
                setup: Some(setup),
            };
        }
        let live = |section: &&Media| !section.is_rejected();
        let mut bundle: Vec<String> = media
            .iter()
            .filter(live)
            .filter_map(|section| section.mid.clone())
            .collect();
        bundle.sort_by_key(|mid| tagged != Some(mid.as_str()));
        let head = bundle.first().cloned();
        let first = media
            .iter_mut()
            .filter(|section| !section.is_rejected())
            .find(|section| section.mid == head);
        if let Some(first) = first {
            // RFC 9143 §7.1.3: candidates belong to the tagged m-line alone.
            first.candidates = self.local.candidates.clone();
            first.end_of_candidates = true;
        }
        // RFC 8829 §5.2.2: a higher version with each description.
        self.session_version += 1;
        Description {
            session_id: self.session_id,
            session_version: self.session_version,
            ice_lite: true,
            extmap_allow_mixed: false,
            bundles: if bundle.is_empty() { Vec::new() } else { vec![bundle] },
            transport: TransportAttributes::default(),
            media,
        }
    }
}

fn seed(credentials: &IceCredentials) -> u64 {
    let mut hasher = DefaultHasher::new();
    credentials.ufrag.hash(&mut hasher);
    credentials.pwd.hash(&mut hasher);
    hasher.finish()
}

/// RFC 8842 §5: the role of a running association stays. Deviates in that an offer without `a=setup` is taken for
/// actpass, which it should have said (§5.2).
fn our_role(side: Side, setup: Option<Setup>, before: Option<DtlsRole>) -> Result<DtlsRole, NegotiateError> {
    let role = match (side, setup) {
        (_, Some(Setup::Active)) => DtlsRole::Server,
        (_, Some(Setup::Passive)) => DtlsRole::Client,
        // We are the lite side with the open port: the client starts (RFC 8842 §5.3).
        (Side::Offer, Some(Setup::ActPass) | None) => before.unwrap_or(DtlsRole::Server),
        (Side::Offer, Some(Setup::HoldConn)) | (Side::Answer, Some(Setup::ActPass | Setup::HoldConn) | None) => {
            return Err(NegotiateError::Setup);
        }
    };
    if before.is_some_and(|before| before != role) {
        Err(NegotiateError::Setup)
    } else {
        Ok(role)
    }
}
