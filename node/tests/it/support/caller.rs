//! A client with media: what a browser does, on a WebRTC implementation of other people's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionState,
};
use webrtc::runtime::TokioRuntime;

use super::{PATIENCE, Ws};

const SSRC: u32 = 0x2000_0001;
const PAYLOAD_TYPE: u8 = 96;

/// A participant with a camera that shows nothing but key frames.
#[derive(Default)]
pub(crate) struct Caller {
    connections: Vec<Arc<dyn PeerConnection>>,
    sending: JoinSet<()>,
}

struct Handler(watch::Sender<RTCPeerConnectionState>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.0.send_replace(state);
    }
}

impl Caller {
    /// Publishes a camera and waits until it flows.
    pub(crate) async fn publish(&mut self, ws: &mut Ws) {
        let (connection, mut state) = open().await;
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "stream".to_owned(),
            "camera".to_owned(),
            "video".to_owned(),
            RtpCodecKind::Video,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(SSRC),
                    ..RTCRtpCodingParameters::default()
                },
                codec: codec().rtp_codec,
                ..RTCRtpEncodingParameters::default()
            }],
        )));
        connection
            .add_track(track.clone() as Arc<dyn TrackLocal>)
            .await
            .unwrap();
        let offer = connection.create_offer(None).await.unwrap();
        connection.set_local_description(offer.clone()).await.unwrap();
        let answer = ws.ask("offer", json!({"target": "publish", "sdp": offer.sdp})).await;
        let sdp = answer["payload"]["sdp"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let answer = RTCSessionDescription::answer(sdp.to_owned()).unwrap();
        connection.set_remote_description(answer).await.unwrap();
        let up = state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        timeout(PATIENCE, up).await.expect("media connects").unwrap();
        self.connections.push(connection);
        self.sending.spawn(send(track));
    }

    /// Answers the node's next offer.
    pub(crate) async fn receive(&mut self, ws: &mut Ws) {
        let offer = ws.until("offer").await;
        let (connection, _) = open().await;
        let sdp = offer["payload"]["sdp"].as_str().unwrap_or_else(|| panic!("{offer}"));
        let offer = RTCSessionDescription::offer(sdp.to_owned()).unwrap();
        connection.set_remote_description(offer).await.unwrap();
        let answer = connection.create_answer(None).await.unwrap();
        connection.set_local_description(answer.clone()).await.unwrap();
        let taken = ws
            .ask("answer", json!({"target": "subscribe", "sdp": answer.sdp}))
            .await;
        assert_eq!(taken["type"], "ok", "{taken}");
        self.connections.push(connection);
    }
}

async fn send(track: Arc<TrackLocalStaticRTP>) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for number in 0_u16.. {
        pace.tick().await;
        let [p0, p1] = (number & 0x7fff).to_be_bytes();
        // A VP8 payload descriptor with a picture number (RFC 7741 §4.2), and the header of a key frame of 320 × 180 (RFC 6386 §9.1).
        let mut payload = vec![
            0x90,
            0x80,
            0x80 | p0,
            p1,
            0x10,
            0,
            0,
            0x9d,
            0x01,
            0x2a,
            0x40,
            0x01,
            0xb4,
            0x00,
        ];
        payload.resize(200, 0x55);
        let packet = rtc::rtp::Packet {
            header: rtc::rtp::Header {
                version: 2,
                marker: true,
                payload_type: PAYLOAD_TYPE,
                sequence_number: number,
                timestamp: u32::from(number) * 1800,
                ssrc: SSRC,
                ..rtc::rtp::Header::default()
            },
            payload: Bytes::from(payload),
        };
        if track.write_rtp(packet).await.is_err() {
            return;
        }
    }
}

fn codec() -> RTCRtpCodecParameters {
    let feedback = |kind: &str, parameter: &str| RTCPFeedback {
        typ: kind.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")],
        },
        payload_type: PAYLOAD_TYPE,
    }
}

async fn open() -> (Arc<dyn PeerConnection>, watch::Receiver<RTCPeerConnectionState>) {
    let mut engine = MediaEngine::default();
    engine.register_codec(codec(), RtpCodecKind::Video).unwrap();
    let (state, changes) = watch::channel(RTCPeerConnectionState::New);
    let builder = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(engine)
        .with_handler(Arc::new(Handler(state)))
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()]);
    // Twenty kilobytes of state while it is being built.
    let connection = Box::pin(builder.build()).await.unwrap();
    (Arc::new(connection), changes)
}
