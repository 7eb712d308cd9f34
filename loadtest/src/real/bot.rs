//! A bot's two connections, as they are negotiated, and what it sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use super::Real;
use super::connection::{codec, codec_kind, open};
use super::key_frames::is_request;
use crate::crowd::labels;
use crate::light::unix_ns;
use crate::marker::Marker;
use crate::session::{ANSWER_LIMIT, Session};
use crate::synthetic::{Track, write_payload};

/// Bytes of an RTP header as the library writes it.
const HEADER: usize = 12;

/// One bot.
pub(crate) struct RealBot {
    real: Real,
    numbers: Arc<AtomicU32>,
    sending: Option<Arc<dyn PeerConnection>>,
    receiving: Option<Arc<dyn PeerConnection>>,
    /// What sends; it ends with the bot.
    tasks: JoinSet<()>,
}

/// A track on its way.
struct Source {
    real: Real,
    at: usize,
    track: Track,
    local: Arc<TrackLocalStaticRTP>,
    number: u32,
    payload_type: u8,
    wants_key_frame: Arc<AtomicBool>,
}

impl RealBot {
    pub(crate) fn new(real: Real, numbers: Arc<AtomicU32>) -> Self {
        Self {
            real,
            numbers,
            sending: None,
            receiving: None,
            tasks: JoinSet::new(),
        }
    }

    /// Publishes tracks and waits until they flow.
    pub(crate) async fn publish(&mut self, session: &mut Session, tracks: &[Track]) -> Result<Value> {
        if tracks.iter().any(Track::is_simulcast) {
            bail!("only light bots publish several sizes");
        }
        let (connection, state) = open(&self.real, None).await?;
        let mut sources = Vec::new();
        for track in tracks {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let local = local_track(track, number);
            connection.add_track(local.clone() as Arc<dyn TrackLocal>).await?;
            sources.push(Source {
                real: self.real.clone(),
                at: self.real.add_source(),
                track: *track,
                local,
                number,
                payload_type: codec(track.kind).payload_type,
                wants_key_frame: Arc::new(AtomicBool::new(true)),
            });
        }
        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer.clone()).await?;
        let description = caside_media::sdp::parse(&offer.sdp)?;
        let mids = description
            .media
            .iter()
            .filter_map(|media| Some((media.mid.clone()?, media.media.kind()?)));
        let labels = labels(mids.filter_map(|(mid, kind)| {
            let track = tracks.iter().find(|track| track.kind == kind)?;
            Some((mid, track))
        }));
        let mut answer = session
            .request(
                "offer",
                json!({"target": "publish", "sdp": offer.sdp, "tracks": labels}),
            )
            .await?;
        let sdp = answer["sdp"].as_str().context("an answer without SDP")?.to_owned();
        connection
            .set_remote_description(RTCSessionDescription::answer(sdp)?)
            .await?;
        is_connected(state).await?;
        for source in sources {
            let requests = (
                source.local.clone(),
                source.real.clone(),
                source.at,
                source.wants_key_frame.clone(),
            );
            self.tasks
                .spawn(watch_requests(requests.0, requests.1, requests.2, requests.3));
            self.tasks.spawn(source.send());
        }
        self.sending = Some(connection);
        Ok(answer["tracks"].take())
    }

    /// Answers the node's offer.
    pub(crate) async fn answer(&mut self, offer: &str) -> Result<String> {
        let connection = match &self.receiving {
            Some(connection) => connection.clone(),
            None => {
                let receiver = self.real.add_receiver();
                let (connection, _) = open(&self.real, Some(receiver)).await?;
                self.receiving = Some(connection.clone());
                connection
            }
        };
        connection
            .set_remote_description(RTCSessionDescription::offer(offer.to_owned())?)
            .await?;
        let answer = connection.create_answer(None).await?;
        connection.set_local_description(answer.clone()).await?;
        Ok(answer.sdp)
    }

    /// Ends what it sends and both connections.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.tasks.shutdown().await;
        for connection in [self.sending.take(), self.receiving.take()].into_iter().flatten() {
            connection.close().await?;
        }
        Ok(())
    }
}

/// Waits until a connection is up.
async fn is_connected(mut state: watch::Receiver<RTCPeerConnectionState>) -> Result<()> {
    let up = |state: &RTCPeerConnectionState| {
        matches!(
            state,
            RTCPeerConnectionState::Connected | RTCPeerConnectionState::Failed
        )
    };
    let state = timeout(ANSWER_LIMIT, state.wait_for(up))
        .await
        .context("media does not connect")??;
    if *state == RTCPeerConnectionState::Failed {
        bail!("media cannot connect");
    }
    Ok(())
}

fn local_track(track: &Track, number: u32) -> Arc<TrackLocalStaticRTP> {
    let kind = codec_kind(track.kind);
    Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        format!("bot-{number}"),
        format!("track-{number}"),
        kind.to_string(),
        kind,
        vec![RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc(number)),
                ..RTCRtpCodingParameters::default()
            },
            codec: codec(track.kind).rtp_codec,
            ..RTCRtpEncodingParameters::default()
        }],
    )))
}

fn ssrc(number: u32) -> u32 {
    0x2000_0000 | number
}

/// Notes requests for key frames until the track ends.
async fn watch_requests(local: Arc<TrackLocalStaticRTP>, real: Real, at: usize, wants: Arc<AtomicBool>) {
    while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = local.poll().await {
        if packets.iter().any(|packet| is_request(packet.as_ref())) {
            real.asked(at);
            wants.store(true, Ordering::Relaxed);
        }
    }
}

impl Source {
    async fn send(self) {
        let mut pace = interval(Duration::from_secs(1) / self.track.frames_per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut frame, mut sequence, mut timestamp) = (0u32, 0u16, 0u32);
        let Some(shape) = self.track.encodings().first().copied() else {
            return;
        };
        loop {
            pace.tick().await;
            let key_frame = self.wants_key_frame.swap(false, Ordering::Relaxed);
            for number in 0..shape.packets_per_frame {
                let marker = Marker {
                    stream: self.number,
                    frame,
                    packet: number,
                    packets: shape.packets_per_frame,
                    key_frame: key_frame || self.track.kind == caside_media::parameters::MediaKind::Audio,
                    encoding: None,
                    ticks: self.track.ticks_per_frame(),
                    sent_ns: unix_ns(),
                };
                let mut payload = vec![0x55; shape.packet_bytes.saturating_sub(HEADER)];
                if write_payload(&mut payload, self.track.kind, (shape.width, shape.height), &marker).is_none() {
                    self.real.failed("packets are too short for a marker".to_owned());
                    return;
                }
                let packet = rtc::rtp::Packet {
                    header: rtc::rtp::Header {
                        version: 2,
                        marker: number + 1 == shape.packets_per_frame,
                        payload_type: self.payload_type,
                        sequence_number: sequence,
                        timestamp,
                        ssrc: ssrc(self.number),
                        ..rtc::rtp::Header::default()
                    },
                    payload: Bytes::from(payload),
                };
                if let Err(error) = self.local.write_rtp(packet).await {
                    self.real.failed(format!("a webrtc track does not send: {error}"));
                    return;
                }
                sequence = sequence.wrapping_add(1);
            }
            frame = frame.wrapping_add(1);
            timestamp = timestamp.wrapping_add(u32::from(self.track.ticks_per_frame()));
        }
    }
}
