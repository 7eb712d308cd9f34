// @ts-check
/**
 * What an offer says of sound decides what the browser sends: the SFU agrees to what it is offered, and browsers send by the
 * answer. So only the text that goes to the SFU is changed, never the browser's own description.
 *
 * @import { AudioOptions } from '../types.js'
 */

/**
 * The offer as the SFU is to see it.
 *
 * @param {string} sdp
 * @param {AudioOptions} [audio]
 */
export function withSound(sdp, { red = true, dtx = false } = {}) {
  return sdp
    .split(/(?=^m=)/m)
    .map((section) => {
      if (!section.startsWith('m=audio')) return section;
      const kept = red ? section : withoutRed(section);
      return dtx ? withDtx(kept) : kept;
    })
    .join('');
}

/**
 * Without redundant sound (RFC 2198): half the bits, and every loss is heard.
 *
 * @param {string} section
 */
function withoutRed(section) {
  const [, payloadType] = /^a=rtpmap:(\d+) red\/48000/im.exec(section) ?? [];
  if (payloadType === undefined) return section;
  return section
    .replace(/^m=audio .*/, (line) => line.split(' ').filter((part, at) => at < 3 || part !== payloadType).join(' '))
    .replace(new RegExp(`^a=(rtpmap|fmtp|rtcp-fb):${payloadType} .*\r\n`, 'gm'), '');
}

/**
 * With pauses where nobody speaks (RFC 7587 §3.1.3).
 *
 * @param {string} section
 */
function withDtx(section) {
  const [rtpmap, payloadType] = /^a=rtpmap:(\d+) opus\/48000\/2\r\n/im.exec(section) ?? [];
  if (rtpmap === undefined || /usedtx=/.test(section)) return section;
  const parameters = new RegExp(`^(a=fmtp:${payloadType} [^\r\n]*)`, 'm');
  if (parameters.test(section)) return section.replace(parameters, '$1;usedtx=1');
  return section.replace(rtpmap, `${rtpmap}a=fmtp:${payloadType} usedtx=1\r\n`);
}
