// @ts-check

/**
 * @import { Media } from './media.js'
 *
 * @typedef {object} StreamStats one RTP stream since it began
 * @property {'audio' | 'video'} kind
 * @property {string} [participantId] whose, of received ones
 * @property {string} [source]
 * @property {number} bytes
 * @property {number} packets
 * @property {number} packetsLost
 * @property {number} [jitterMs]
 * @property {number} [frames] encoded or decoded
 * @property {number} [framesPerSecond]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [freezes]
 * @property {string} [codec]
 *
 * @typedef {object} Stats
 * @property {StreamStats[]} sent
 * @property {StreamStats[]} received
 * @property {number | null} roundTripMs of the path that media takes
 * @property {number | null} availableOutgoingBps
 */

/**
 * @param {Media} media
 * @returns {Promise<Stats>}
 */
export async function collectStats(media) {
  /** @type {Stats} */
  const stats = { sent: [], received: [], roundTripMs: null, availableOutgoingBps: null };
  const remote = new Map(media.remote.all.map((track) => [track.mediaTrack.id, track]));
  const local = new Map(media.locals.map((track) => [track.mediaTrack?.id, track]));
  const connections = [media.publishConnection, media.subscribeConnection, ...media.peerConnections.values()];
  for (const connection of connections) {
    if (!connection || connection.connectionState === 'closed') continue;
    const report = new Map(/** @type {any} */ (await connection.getStats()));
    for (const entry of report.values()) {
      if (entry.type === 'inbound-rtp') {
        const track = remote.get(entry.trackIdentifier);
        stats.received.push(streamStats(entry, report, track?.source, track?.participantId));
      } else if (entry.type === 'outbound-rtp') {
        stats.sent.push(streamStats(entry, report, local.get(report.get(entry.mediaSourceId)?.trackIdentifier)?.source));
      } else if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') {
        if (entry.currentRoundTripTime !== undefined) stats.roundTripMs = entry.currentRoundTripTime * 1000;
        stats.availableOutgoingBps ??= entry.availableOutgoingBitrate ?? null;
      }
    }
  }
  return stats;
}

/**
 * @param {any} entry an `inbound-rtp` or `outbound-rtp` of W3C webrtc-stats
 * @param {Map<string, any>} report
 * @param {string} [source]
 * @param {string} [participantId]
 * @returns {StreamStats}
 */
function streamStats(entry, report, source, participantId) {
  const theirs = entry.remoteId ? report.get(entry.remoteId) : undefined;
  return {
    kind: entry.kind,
    participantId,
    source,
    bytes: entry.bytesReceived ?? entry.bytesSent ?? 0,
    packets: entry.packetsReceived ?? entry.packetsSent ?? 0,
    packetsLost: entry.packetsLost ?? theirs?.packetsLost ?? 0,
    jitterMs: entry.jitter === undefined ? undefined : entry.jitter * 1000,
    frames: entry.framesDecoded ?? entry.framesEncoded,
    framesPerSecond: entry.framesPerSecond,
    width: entry.frameWidth,
    height: entry.frameHeight,
    freezes: entry.freezeCount,
    codec: report.get(entry.codecId)?.mimeType?.split('/')[1],
  };
}
