// @ts-check

/**
 * @typedef {{udp: number, tcp: number, relay: number}} CandidateCounts
 *
 * @typedef {object} MediaReport what `media-report` says
 * @property {'publish' | 'subscribe'} target
 * @property {RTCIceConnectionState} ice
 * @property {RTCPeerConnectionState} connection
 * @property {CandidateCounts} candidates of this side, by protocol
 */

/** By now checks are answered, where they can be. */
const PATIENCE_MS = 1_500;
/** Candidates beyond so many say nothing more. */
const MAX_COUNT = 99;

/**
 * Tells the server of a connection that does not come up, or breaks: what the browser knows and the server cannot.
 *
 * @param {RTCPeerConnection} connection
 * @param {'publish' | 'subscribe'} target
 * @param {(report: MediaReport) => void} tell
 */
export function watchTrouble(connection, target, tell) {
  /** @type {CandidateCounts} */
  const candidates = { udp: 0, tcp: 0, relay: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const report = () => tell({ target, ice: connection.iceConnectionState, connection: connection.connectionState, candidates: { ...candidates } });
  connection.addEventListener('icecandidate', ({ candidate }) => {
    if (!candidate?.candidate) return;
    const kind = candidate.type === 'relay' ? 'relay' : candidate.protocol === 'tcp' ? 'tcp' : 'udp';
    candidates[kind] = Math.min(MAX_COUNT, candidates[kind] + 1);
  });
  const changed = () => {
    clearTimeout(timer);
    const { connectionState, iceConnectionState } = connection;
    if (connectionState === 'failed' || iceConnectionState === 'failed' || iceConnectionState === 'disconnected') report();
    else if (connectionState === 'connecting') timer = setTimeout(report, PATIENCE_MS);
  };
  connection.addEventListener('iceconnectionstatechange', changed);
  connection.addEventListener('connectionstatechange', changed);
}
