//! A light bot's two connections, as they are negotiated.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use caside_media::parameters::{IceCredentials, MediaKind};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::sdp::{self, OPUS, OfferedTrack, Remote, VP8};
use super::{Connect, Light, SourceOptions};
use crate::crowd::labels;
use crate::session::{ANSWER_LIMIT, Session};
use crate::synthetic::Track;

/// One bot.
pub(crate) struct LightBot {
    light: Light,
    numbers: Arc<AtomicU32>,
    /// Ours, for the connection that we receive over.
    ice: IceCredentials,
    /// That connection, once it was negotiated.
    receiving: Option<usize>,
    /// The one that we send over.
    publishing: Option<usize>,
    /// The ids of tracks that we publish, in the order of their sources.
    published: Vec<String>,
    /// The numbers of those sources.
    sending: Vec<u32>,
    /// Under which number gaps of what it receives are counted; `None`: they are not. Such a bot waits for no connection.
    viewer: Option<u32>,
    /// Connections that are not up yet, as far as nobody waited.
    rising: Vec<oneshot::Receiver<()>>,
    /// What the last offer said, until it is agreed.
    offered: Option<Remote>,
    /// The SSRCs of the last offer, by `mid`.
    ssrcs: HashMap<String, u32>,
}

impl LightBot {
    pub(crate) fn new(light: Light, numbers: Arc<AtomicU32>) -> Self {
        Self {
            light,
            numbers,
            ice: IceCredentials::random(),
            receiving: None,
            publishing: None,
            published: Vec::new(),
            sending: Vec::new(),
            viewer: None,
            rising: Vec::new(),
            offered: None,
            ssrcs: HashMap::new(),
        }
    }

    /// As [`new`](Self::new), of one whose gaps are counted, and which goes on while its connections come up.
    pub(crate) fn watched(light: Light, numbers: Arc<AtomicU32>) -> Self {
        let viewer = numbers.fetch_add(1, Ordering::Relaxed);
        Self {
            viewer: Some(viewer),
            ..Self::new(light, numbers)
        }
    }

    /// Begins anew with its next description: returns the connections so far, which go on until they are closed.
    pub(crate) fn renew(&mut self) -> Vec<usize> {
        self.ice = IceCredentials::random();
        self.offered = None;
        self.ssrcs.clear();
        self.rising.clear();
        [self.publishing.take(), self.receiving.take()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether it sends and receives over connections that are up.
    pub(crate) fn is_up(&mut self) -> bool {
        self.rising.retain_mut(|up| up.try_recv().is_err());
        self.rising.is_empty() && self.publishing.is_some() && self.receiving.is_some()
    }

    /// Publishes tracks and waits until they flow. Returns their ids by mid.
    pub(crate) async fn publish(&mut self, session: &mut Session, tracks: &[Track]) -> Result<Value> {
        let ice = IceCredentials::random();
        if self.sending.len() != tracks.len() {
            let number = |_: &Track| self.numbers.fetch_add(1, Ordering::Relaxed);
            self.sending = tracks.iter().map(number).collect();
        }
        let sources: Vec<SourceOptions> = (b'0'..)
            .zip(tracks.iter().zip(&self.sending))
            .map(|(mid, (track, number))| source(mid, track, *number))
            .collect();
        let offered: Vec<OfferedTrack> = sources
            .iter()
            .map(|source| OfferedTrack {
                kind: source.track.kind,
                ssrc: source.ssrc,
                rids: source
                    .track
                    .encodings()
                    .iter()
                    .filter_map(|encoding| encoding.rid)
                    .collect(),
            })
            .collect();
        let sdp = sdp::offer(&offered, false, &ice, self.light.identity())?;
        let mut labels = labels(
            sources
                .iter()
                .map(|source| (char::from(source.mid).to_string(), &source.track)),
        );
        for (source, before) in sources.iter().zip(&self.published) {
            labels[char::from(source.mid).to_string()]["track"] = before.as_str().into();
        }
        let mut answer = session
            .request("offer", json!({"target": "publish", "sdp": sdp, "tracks": labels}))
            .await?;
        let remote = Remote::read(answer["sdp"].as_str().context("an answer without SDP")?)?;
        let ids = sources.iter().map(|source| {
            let id = answer["tracks"][char::from(source.mid).to_string()].as_str();
            id.map(str::to_owned)
                .context("an answer without a track that was offered")
        });
        self.published = ids.collect::<Result<_>>()?;
        self.publishing = Some(self.connect(ice, remote, sources).await?);
        Ok(answer["tracks"].take())
    }

    /// Sends the sizes of a track that somebody watches, as `publish-layers` says.
    pub(crate) fn layers_wanted(&self, wanted: &Value) -> Result<()> {
        let source = self.published.iter().position(|id| wanted["track"] == id.as_str());
        let (Some(client), Some(source)) = (self.publishing, source) else {
            return Ok(());
        };
        let layers = wanted["layers"].as_array().context("layers that are none")?.iter();
        let sizes = layers.filter_map(|layer| Some((layer["rid"].as_str()?.to_owned(), layer["active"].as_bool()?)));
        self.light.activate(client, source, sizes.collect())
    }

    /// Says which sizes are asked for, by the `mid` of their m-line in the last offer.
    pub(crate) fn expect(&self, sizes: &[(String, u8)]) -> Result<()> {
        let Some(client) = self.receiving else {
            return Ok(());
        };
        let sizes = sizes.iter().map(|(mid, size)| {
            let ssrc = self.ssrcs.get(mid);
            Ok((*ssrc.context("an m-line that was not offered")?, *size))
        });
        self.light.expect(client, sizes.collect::<Result<_>>()?)
    }

    /// Falls silent.
    pub(crate) fn close(&self) -> Result<()> {
        [self.publishing, self.receiving]
            .into_iter()
            .flatten()
            .try_for_each(|client| self.light.leave(client))
    }

    /// Answers the node's offer.
    pub(crate) fn answer(&mut self, offer: &str) -> Result<String> {
        self.offered = Some(Remote::read(offer)?);
        self.ssrcs = sdp::ssrcs(offer)?;
        sdp::answer(offer, &self.ice, self.light.identity())
    }

    /// Receives what was negotiated.
    pub(crate) async fn answered(&mut self) -> Result<()> {
        let Some(remote) = self.offered.take() else {
            return Ok(());
        };
        match self.receiving {
            Some(client) => self.light.update(client, &remote)?,
            None => self.receiving = Some(self.connect(self.ice.clone(), remote, Vec::new()).await?),
        }
        Ok(())
    }

    async fn connect(&mut self, local: IceCredentials, remote: Remote, sources: Vec<SourceOptions>) -> Result<usize> {
        let (connected, up) = oneshot::channel();
        let client = self
            .light
            .connect(Connect {
                local,
                remote,
                viewer: self.viewer,
                sources,
                connected,
            })
            .await?;
        if self.viewer.is_some() {
            self.rising.push(up);
            return Ok(client);
        }
        timeout(ANSWER_LIMIT, up)
            .await
            .context("media does not connect")?
            .context("media cannot connect")?;
        Ok(client)
    }
}

fn source(mid: u8, track: &Track, number: u32) -> SourceOptions {
    SourceOptions {
        track: *track,
        number,
        ssrc: 0x1000_0000 | number,
        payload_type: match track.kind {
            MediaKind::Audio => OPUS,
            MediaKind::Video => VP8,
        },
        mid,
    }
}
