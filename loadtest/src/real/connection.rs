//! A peer connection of the library's, on loopback.

use std::sync::Arc;

use anyhow::Result;
use caside_media::parameters::MediaKind;
use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use tokio::sync::watch;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionState,
};
use webrtc::runtime::TokioRuntime;

use super::Real;
use super::key_frames::{KeyFrameRequests, SLOT};
use crate::light::{Received, unix_ns};

/// What a connection tells.
struct Handler {
    real: Real,
    /// Whose packets are counted where; `None` for a connection that only sends.
    receiver: Option<usize>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            RTCPeerConnectionState::Connected => self.real.connected(),
            RTCPeerConnectionState::Failed => self.real.failed("a webrtc connection failed".to_owned()),
            _ => {}
        }
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let (real, receiver) = (self.real.clone(), self.receiver);
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let (TrackRemoteEvent::OnRtpPacket(packet), Some(receiver)) = (event, receiver) else {
                    continue;
                };
                let received = Received {
                    ssrc: packet.header.ssrc,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    len: packet.payload.len() + 12,
                    payload: &packet.payload,
                    at_ns: unix_ns(),
                };
                real.received(receiver, &received);
            }
        });
    }
}

/// The codec of a kind of track, and its payload type in our offers.
pub(super) fn codec(kind: MediaKind) -> RTCRtpCodecParameters {
    let feedback = |kinds: &[(&str, &str)]| {
        kinds
            .iter()
            .map(|(kind, parameter)| RTCPFeedback {
                typ: (*kind).to_owned(),
                parameter: (*parameter).to_owned(),
            })
            .collect()
    };
    let (mime_type, clock_rate, channels, payload_type, rtcp_feedback) = match kind {
        MediaKind::Audio => (MIME_TYPE_OPUS, 48_000, 2, 111, feedback(&[])),
        MediaKind::Video => (
            MIME_TYPE_VP8,
            90_000,
            0,
            96,
            feedback(&[("nack", ""), ("nack", "pli"), ("ccm", "fir")]),
        ),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate,
            channels,
            sdp_fmtp_line: String::new(),
            rtcp_feedback,
        },
        payload_type,
    }
}

/// The library's name of a kind.
pub(super) fn codec_kind(kind: MediaKind) -> RtpCodecKind {
    match kind {
        MediaKind::Audio => RtpCodecKind::Audio,
        MediaKind::Video => RtpCodecKind::Video,
    }
}

/// Makes a connection; what it receives is counted at `receiver`.
pub(super) async fn open(
    real: &Real,
    receiver: Option<usize>,
) -> Result<(Arc<dyn PeerConnection>, watch::Receiver<RTCPeerConnectionState>)> {
    let mut engine = MediaEngine::default();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        engine.register_codec(codec(kind), codec_kind(kind))?;
    }
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    let registry = registry.with(Slot::from(SLOT), KeyFrameRequests::default());
    let (state, changes) = watch::channel(RTCPeerConnectionState::New);
    let handler = Handler {
        real: real.clone(),
        receiver,
        state,
    };
    let builder = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(handler))
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()]);
    // Twenty kilobytes of state while it is being built.
    let connection = Box::pin(builder.build()).await?;
    Ok((Arc::new(connection), changes))
}
