// @ts-check

/** ICE recovers from a short loss of packets by itself; after this long it is cheaper to open the connection anew. */
const DISCONNECTED_MS = 5_000;

/**
 * Calls `broken` once when a connection failed, was disconnected for long, or was ended by the other side.
 *
 * @param {RTCPeerConnection} connection
 * @param {() => void} broken
 */
export function watchHealth(connection, broken) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const changed = () => {
    clearTimeout(timer);
    const state = connection.connectionState;
    if (state === 'failed') report();
    else if (state === 'disconnected') timer = setTimeout(report, DISCONNECTED_MS);
    else if (state === 'connected') watchEnd(connection, report);
  };
  const report = () => {
    clearTimeout(timer);
    connection.removeEventListener('connectionstatechange', changed);
    if (connection.signalingState !== 'closed') broken();
  };
  connection.addEventListener('connectionstatechange', changed);
}

/**
 * A node that goes in good order closes DTLS, which is known at once; ICE would take seconds to notice.
 *
 * @param {RTCPeerConnection} connection
 * @param {() => void} ended
 */
function watchEnd(connection, ended) {
  const transport = connection.getTransceivers().find(({ sender }) => sender.transport)?.sender.transport;
  if (transport) transport.onstatechange = () => transport.state === 'closed' && ended();
}

/**
 * Resolves when `done()` holds, looked at whenever one of the events comes, or after `limitMs` in any case.
 *
 * @param {() => boolean} done
 * @param {[EventTarget, string][]} events
 * @param {number} limitMs
 * @returns {Promise<boolean>} whether it holds
 */
export function until(done, events, limitMs) {
  return new Promise((resolve) => {
    const check = () => {
      if (done()) finish();
    };
    const finish = () => {
      clearTimeout(timer);
      for (const [target, type] of events) target.removeEventListener(type, check);
      resolve(done());
    };
    const timer = setTimeout(finish, limitMs);
    for (const [target, type] of events) target.addEventListener(type, check);
    check();
  });
}
