// @ts-check

/**
 * The ICE credentials that a description names first: they tell one connection's descriptions from the next one's.
 *
 * @param {string} sdp
 */
export function iceUfrag(sdp) {
  return /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? '';
}

/**
 * The description without candidates. The SFU learns our addresses from our checks (peer-reflexive, RFC 8445 §7.3.1.3),
 * so candidates would only make the message longer and show local addresses.
 *
 * @param {string} sdp
 */
export function withoutCandidates(sdp) {
  return sdp.replace(/^a=(candidate:.*|end-of-candidates)\r\n/gm, '');
}
