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

/**
 * The description with sound that may be asked for again (RFC 4585 §6.2.1). Chromium does so, and sends again, when the other
 * side names it, but never names it itself; a browser that does not loses nothing.
 *
 * @param {string} sdp
 */
export function withSoundAgain(sdp) {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/.*\r\n/gim, (line, type) =>
    sdp.includes(`a=rtcp-fb:${type} nack\r\n`) ? line : `${line}a=rtcp-fb:${type} nack\r\n`,
  );
}
