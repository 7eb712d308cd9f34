// What a page does that joins by the SDK, in whichever browser: an expression, for those who drive the browsers speak several
// languages.
({
  /** Joins the room that the last part of `url` names; `role` is `simulcast` (publishes a camera in three sizes) or `watch`. */
  async join(role, url, token, codec) {
    const { Caside } = await import('/sdk/caside.js');
    const client = new Caside();
    await client.connect({ token });
    const publish = role === 'simulcast' ? { camera: { width: 1280, height: 720, frameRate: 15 } } : undefined;
    const name = new URL(url).pathname.split('/').at(-1);
    const room = await client.join(name, { displayName: role, video: { codec: codec.toLowerCase() }, publish });
    globalThis.room = room;
    room.on('track', ({ track }) => {
      const element = document.createElement(track.kind);
      Object.assign(element, { muted: true, autoplay: true, srcObject: new MediaStream([track]) });
      document.documentElement.append(element);
    });
    return 'ok';
  },

  /** Whether it is connected, the widths of what it sends by RID, and the pictures that it has decoded, and how wide they are. */
  async look(role) {
    const { media } = globalThis.room;
    const connection = role === 'simulcast' ? media.publishConnection : media.subscribeConnection;
    const rows = connection ? [...(await connection.getStats()).values()].filter((it) => it.kind === 'video') : [];
    const sending = rows.filter((it) => it.type === 'outbound-rtp' && it.framesSent > 0);
    const watched = rows.find((it) => it.type === 'inbound-rtp');
    return JSON.stringify({
      ready: connection?.connectionState === 'connected',
      sent: Object.fromEntries(sending.map((it) => [it.rid, it.frameWidth])),
      frames: watched?.framesDecoded ?? 0,
      width: watched?.frameWidth ?? 0,
    });
  },

  /** Chooses the quality of the camera that it watches. */
  async choose(quality) {
    const camera = [...globalThis.room.participants.values()].map((it) => it.track('camera')).find(Boolean);
    await globalThis.room.subscribe(camera, { quality });
  },

  async leave() {
    await globalThis.room.leave();
  },
})
