// @ts-check
import { Caside, CasideError } from '../sdk/caside.js';
import { CallView } from './call.js';
import { byId, toast } from './dom.js';
import { Library } from './library.js';
import { Lobby, roomId } from './lobby.js';
import { explain } from './messages.js';
import { installShortcuts } from './shortcuts.js';
import { inCall, linkToken, tokenStore } from './store.js';

/**
 * @import { Capture, JoinOptions } from '../sdk/types.js'
 * @import { Room } from '../sdk/caside.js'
 */

const client = new Caside({ store: tokenStore });
const library = new Library(client);
const lobby = new Lobby({ login, join: (room, name) => join(room, name) });
/** @type {CallView | null} */
let view = null;

// For tests and for whoever opens the console.
Object.assign(window, {
  caside: {
    client,
    get room() {
      return client.room;
    },
  },
});

installShortcuts(() => view);
byId('nav-recordings').onclick = () => (location.hash = 'recordings');
byId('library-back').onclick = () => (location.hash = '');
byId('sign-out').onclick = signOut;
window.addEventListener('hashchange', () => route());
client.on('closed', (error) => error.code === 'closed' || toast(explain(error), { error: true, ms: 12_000 }));
client.on('invite', (invitation) => {
  const text = invitation.kind === 'call' ? `${invitation.from.name} is calling you` : `${invitation.from.name} invites you to ${invitation.room}`;
  const remove = toast(text, {
    actions: [
      ['Accept', () => enter(invitation.room, () => client.accept(invitation, joinOptions(lobby.name)))],
      ['Decline', () => client.decline(invitation).catch(() => {})],
    ],
  });
  if (invitation.kind === 'call') setTimeout(remove, 45_000);
});
client.on('invite-answered', ({ answer }) => answer !== 'accepted' && toast(`Your call was ${answer}.`));

start();

/** What the address asks for: a room, a name, a token; with all three the call begins at once. */
async function start() {
  const params = new URLSearchParams(location.search);
  const room = params.get('room');
  const name = params.get('name');
  const given = params.get('token');
  if (given) {
    linkToken.save(given);
    // The token is a key to the room: it must not stay where it is copied from, or in the history.
    params.delete('token');
    history.replaceState(null, '', `${location.pathname}?${params}${location.hash}`);
  }
  if (room) lobby.room = room;
  if (name) lobby.name = name;
  const signedIn = linkToken.load() !== null || client.session.signedIn;
  const returning = inCall.load() === room;
  if (room && name && signedIn && (given || returning)) {
    try {
      await join(roomId(room), name, { camera: true, microphone: true });
      return;
    } catch (thrown) {
      toast(explain(thrown), { error: true });
      inCall.save(null);
    }
  }
  route();
}

/** Shows the lobby or the recordings; a call stays until it is left. */
function route() {
  if (view) return;
  const signedIn = linkToken.load() !== null || client.session.signedIn;
  const recordings = location.hash === '#recordings' && signedIn;
  show(recordings ? 'library' : 'lobby');
  byId('nav-recordings').hidden = byId('sign-out').hidden = !signedIn;
  if (recordings) {
    lobby.preview.stop();
    connect().catch(() => {});
    library.show();
    return;
  }
  library.hide();
  lobby.show(signedIn);
  // Connected before Join is pressed, so that joining is one message.
  if (signedIn) connect().then(suggestName, refused);
}

/** @param {'lobby' | 'call' | 'library'} name */
function show(name) {
  document.body.dataset.view = name;
  for (const id of ['lobby', 'call', 'library']) byId(id).hidden = id !== name;
}

async function connect() {
  if (client.connected) return;
  await client.connect({ token: linkToken.load() ?? undefined, room: lobby.room });
}

/**
 * @param {string} username
 * @param {string} password
 */
async function login(username, password) {
  await client.login(username, password);
  linkToken.save(null);
  await connect();
  route();
}

async function signOut() {
  linkToken.save(null);
  await client.logout().catch(() => {});
  client.session.forget();
  lobby.preview.stop();
  location.hash = '';
  route();
}

function suggestName() {
  if (lobby.name === '' && client.user) lobby.name = client.user.name;
}

/** @param {unknown} thrown */
function refused(thrown) {
  if (thrown instanceof CasideError && ['unauthorized', 'token_expired', 'invalid_credentials'].includes(thrown.code)) {
    linkToken.save(null);
    client.session.forget();
    route();
  }
  toast(explain(thrown), { error: true });
}

/**
 * @param {string} room
 * @param {string} name
 * @param {Capture} [publish] devices to open; those of the preview when left out
 */
async function join(room, name, publish) {
  await connect();
  await enter(room, () => client.join(room, joinOptions(name, publish)));
}

/**
 * @param {string} name
 * @param {Capture} [publish]
 * @returns {JoinOptions}
 */
function joinOptions(name, publish) {
  if (publish) return { displayName: name, publish };
  const { now, later } = lobby.preview.take();
  // A camera that is still waking up follows; the call does not wait for it.
  later?.then((tracks) => client.room?.publish(tracks)).catch((thrown) => toast(explain(thrown), { error: true }));
  return { displayName: name, publish: now };
}

/**
 * @param {string} id
 * @param {() => Promise<Room>} enterRoom
 */
async function enter(id, enterRoom) {
  const room = await enterRoom();
  if (room.left) return;
  inCall.save(id);
  const url = new URL(location.href);
  url.searchParams.set('room', id);
  url.searchParams.set('name', room.localParticipant.displayName);
  history.replaceState(null, '', `${url.pathname}${url.search}`);
  show('call');
  view = new CallView(client, room);
  room.on('left', ({ reason }) => left(id, reason));
  byId('call').focus({ preventScroll: true });
}

/**
 * @param {string} id
 * @param {string} reason
 */
function left(id, reason) {
  view = null;
  inCall.save(null);
  history.replaceState(null, '', `${location.pathname}?${new URLSearchParams({ room: id })}`);
  lobby.room = id;
  if (reason === 'ended') toast('The call was ended for everyone.');
  else if (reason === 'kicked') toast('You were removed from the call.');
  route();
}
