// @ts-check

/** An `RTCPeerConnection` that negotiates, and connects when the test says so. */
export class FakePeer extends EventTarget {
  /** Every connection that was made, oldest first. @type {FakePeer[]} */ static all = [];
  connectionState = 'new';
  signalingState = 'stable';
  /** @type {{type: string, sdp: string} | null} */ localDescription = null;
  /** @type {any[]} */ #transceivers = [];

  constructor() {
    super();
    FakePeer.all.push(this);
  }

  /** @param {any} trackOrKind @param {any} how */
  addTransceiver(trackOrKind, { direction }) {
    const sender = { transport: null, replaceTrack: async () => {}, getParameters: () => ({ encodings: [{}] }), setParameters: async () => {} };
    const transceiver = { mid: /** @type {string | null} */ (null), direction, currentDirection: direction, sender, receiver: { track: trackOrKind } };
    this.#transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.#transceivers;
  }

  getReceivers() {
    return this.#transceivers.map(({ receiver }) => receiver);
  }

  async setLocalDescription({ type = 'offer' } = {}) {
    if (this.connectionState === 'closed') throw new Error('closed');
    for (const [at, transceiver] of this.#transceivers.entries()) transceiver.mid ??= String(at);
    const isOffer = this.signalingState === 'stable' && type !== 'rollback';
    this.signalingState = isOffer ? 'have-local-offer' : 'stable';
    this.localDescription = { type: isOffer ? 'offer' : 'answer', sdp: 'v=0\r\na=ice-ufrag:mine\r\n' };
  }

  /** @param {{type: string, sdp: string}} description an offer names its m-lines by `mid:` lines */
  async setRemoteDescription({ type, sdp }) {
    if (this.connectionState === 'closed') throw new Error('closed');
    this.signalingState = type === 'offer' ? 'have-remote-offer' : 'stable';
    if (type !== 'offer') return;
    for (const [, mid] of sdp.matchAll(/^a=mid:(\S+)/gm)) {
      if (this.#transceivers.some((it) => it.mid === mid)) continue;
      const track = Object.assign(new EventTarget(), { kind: 'video', muted: true });
      this.#transceivers.push({ mid, direction: 'recvonly', sender: { transport: null }, receiver: { track } });
    }
  }

  close() {
    this.connectionState = this.signalingState = 'closed';
  }

  // The test's side.

  /** @param {string} state */
  become(state) {
    this.connectionState = state;
    this.dispatchEvent(new Event('connectionstatechange'));
  }
}

/** Puts it and what belongs to it in place of a browser's. */
export function install() {
  FakePeer.all = [];
  Object.assign(globalThis, {
    RTCPeerConnection: FakePeer,
    RTCRtpReceiver: class {},
    MediaStream: class {},
  });
}
