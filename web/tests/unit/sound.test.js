// @ts-check
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { withSound } from '../../sdk/media/sound.js';

const offer = readFileSync(new URL('../../../media/tests/fixtures/sdp/chromium_camera.sdp', import.meta.url), 'utf8');
const lines = (/** @type {string} */ sdp) => sdp.split('\r\n');
const changed = (/** @type {string} */ sdp) => lines(sdp).filter((line) => !lines(offer).includes(line));
const gone = (/** @type {string} */ sdp) => lines(offer).filter((line) => !lines(sdp).includes(line));

describe('what is offered of sound', () => {
  test('is the browser’s own unless something else is wished', () => {
    assert.equal(withSound(offer), offer);
    assert.equal(withSound(offer, { red: true, dtx: false }), offer);
  });

  test('has no redundant sound if it is not wished, and the picture’s RED stays', () => {
    const sdp = withSound(offer, { red: false });
    assert.deepEqual(
      gone(sdp).filter((line) => !line.startsWith('m=')),
      ['a=rtpmap:63 red/48000/2', 'a=fmtp:63 111/111'],
    );
    const [line, ...others] = changed(sdp);
    assert.match(line, /^m=audio \d+ UDP\/TLS\/RTP\/SAVPF 111 /);
    assert.ok(!line.split(' ').includes('63'));
    assert.deepEqual(others, []);
    assert.equal(withSound(sdp, { red: false }), sdp);
  });

  test('asks for pauses where nobody speaks, once, with parameters or without', () => {
    const sdp = withSound(offer, { dtx: true });
    assert.deepEqual(changed(sdp), ['a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1']);
    assert.equal(withSound(sdp, { dtx: true }), sdp);
    const bare = offer.replace(/^a=fmtp:111 .*\r\n/m, '');
    assert.match(withSound(bare, { dtx: true }), /a=rtpmap:111 opus\/48000\/2\r\na=fmtp:111 usedtx=1\r\n/);
  });
});
