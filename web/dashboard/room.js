// @ts-check
import { ago, draw, h, pill, rate, short, spark } from './draw.js';

/** How many values a line shows. */
const KEPT = 60;
/** @type {Record<string, string>} */
const QUALITY = { excellent: 'good', good: 'good', poor: 'warn', lost: 'bad' };
/** @type {Record<string, string>} */
const SOURCES = { camera: 'Camera', microphone: 'Microphone', screen: 'Screen', 'screen-audio': 'Screen sound', file: 'File' };

/** One room: who is in it, what each sends and receives, and how well. */
export class Room {
  every = 2_000;
  /** @type {Map<string, number[]>} the last bit rates, by track */
  #rates = new Map();
  /** @type {Map<string, {bytes: number, at: number}>} what had come, by track */
  #counted = new Map();
  /** @type {any} */
  seen;

  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.title = id;
  }

  /** @param {import('./main.js').Api} api */
  async ask(api) {
    try {
      this.seen = await api.get(`/admin/rooms/${encodeURIComponent(this.id)}`);
    } catch (thrown) {
      if (/** @type {any} */ (thrown).code !== 'room_not_found') throw thrown;
      this.seen = null;
      return;
    }
    for (const sent of this.seen.members.flatMap((/** @type {any} */ member) => lists(member, 'published'))) {
      const now = this.#rate(sent);
      if (now === undefined) continue;
      const values = this.#rates.get(sent.track) ?? [];
      values.push(now);
      this.#rates.set(sent.track, values.slice(-KEPT));
    }
  }

  /** What a track has now: as measured, or of sound, which is not, by what has come since the last time. @param {any} sent */
  #rate(sent) {
    const before = this.#counted.get(sent.track);
    const now = { bytes: sent.bytes_received, at: Date.now() };
    this.#counted.set(sent.track, now);
    if (sent.bitrate_bps > 0) return sent.bitrate_bps;
    if (!before || now.at <= before.at) return undefined;
    return (Math.max(0, now.bytes - before.bytes) * 8000) / (now.at - before.at);
  }

  /** @param {Element} at */
  draw(at) {
    const seen = this.seen;
    const back = h('a', { class: 'ghost back', href: '#/' }, '← All rooms');
    if (!seen) {
      return draw(at, [back, h('h1', {}, this.id), h('p', { class: 'empty', 'data-testid': 'no-room' }, 'Nobody is in this room now.')]);
    }
    const room = { 'data-room': this.id, 'data-call': seen.room.call_id };
    const recording = seen.recording !== null;
    draw(at, [
      back,
      h('header', { class: 'room-head' },
        h('div', {},
          h('h1', {}, seen.room.name ?? this.id),
          h('p', { class: 'chips' },
            pill(`on ${seen.node}`), pill(seen.standby ? `standby ${seen.standby}` : 'no standby'), pill(`epoch ${seen.epoch}`),
            pill(seen.mode === 'p2p' ? 'peer to peer' : `SFU ${seen.sfu}`), seen.room.locked ? pill('locked', 'warn') : null,
            recording ? pill('recording', 'bad') : null)),
        h('div', { class: 'acts' },
          h('a', { class: 'ghost', href: `#/actors?room=${encodeURIComponent(this.id)}` }, 'Actors'),
          h('button', { class: 'ghost', type: 'button', 'data-act': recording ? 'record-stop' : 'record-start', ...room }, recording ? 'Stop recording…' : 'Record…'),
          h('button', { class: 'ghost danger-text', type: 'button', 'data-act': 'end', disabled: !seen.room.call_id, ...room }, 'End the call…'))),
      recording ? recorder(seen) : h('section', { hidden: true }),
      seen.truncated ? h('p', { class: 'notice' }, 'The media of some is not shown: there is too much of it, or the SFU did not answer in time.') : h('p', { hidden: true }),
      h('div', { class: 'members', 'data-testid': 'members' },
        seen.room.participants.map((/** @type {any} */ participant) => {
          const member = seen.members.find((/** @type {any} */ it) => it.participant_id === participant.participant_id);
          return this.#member(participant, member, seen);
        })),
    ]);
  }

  /**
   * @param {any} participant
   * @param {any} member
   * @param {any} seen
   */
  #member(participant, member, seen) {
    const id = participant.participant_id;
    const who = { 'data-room': this.id, 'data-participant': id, 'data-name': participant.display_name };
    const down = connections(member).find((/** @type {any} */ it) => it.downlink)?.downlink;
    const rtts = connections(member).map((/** @type {any} */ it) => it.rtt_ms).filter((/** @type {any} */ it) => typeof it === 'number');
    const speaks = seen.active_speakers.includes(id);
    return h('article', { class: speaks ? 'card member speaks' : 'card member', 'data-key': id, 'data-testid': `member-${participant.user}` },
      h('header', {},
        h('div', {}, h('h2', {}, participant.display_name), h('p', { class: 'quiet' }, short(participant.user), ` · ${participant.role} · ${ago(participant.joined_at)}`)),
        pill(member?.cause ? `${member.quality}: ${member.cause}` : (member?.quality ?? '–'), QUALITY[member?.quality] ?? '')),
      h('dl', { class: 'facts' },
        fact('Session on', member?.node ?? '–'),
        fact('Round trip', rtts.length > 0 ? `${Math.round(Math.max(...rtts))} ms` : '–'),
        fact('Can receive', down ? rate(down.estimate_bps) : '–'),
        fact('Is given', !down ? '–' : down.desired_bps > down.given_bps ? `${rate(down.given_bps)} of ${rate(down.desired_bps)}` : rate(down.given_bps))),
      h('h3', {}, 'Sends'),
      participant.tracks.length === 0 ? h('p', { class: 'quiet' }, 'nothing') : h('ul', { class: 'tracks' },
        participant.tracks.map((/** @type {any} */ track) => this.#sent(track, lists(member, 'published').find((/** @type {any} */ it) => it.track === track.track), who))),
      received(member, seen),
      h('footer', {},
        h('button', { class: 'ghost', type: 'button', 'data-act': 'mute', disabled: participant.tracks.length === 0, ...who }, 'Mute all…'),
        h('button', { class: 'ghost danger-text', type: 'button', 'data-act': 'kick', ...who }, 'Remove…')));
  }

  /**
   * @param {any} track
   * @param {any} sent
   * @param {Record<string, string>} who
   */
  #sent(track, sent, who) {
    const lost = sent ? loss(sent.packets_lost, sent.packets_received) : null;
    const state = track.muted ? pill('muted', 'warn') : track.held ? pill('held', 'warn') : null;
    const layers = sizes(sent?.layers ?? []);
    const rates = this.#rates.get(track.track) ?? [];
    return h('li', { 'data-key': track.track, title: track.track },
      h('div', { class: 'track-head' },
        h('strong', {}, SOURCES[track.source] ?? track.source), h('span', { class: 'quiet' }, track.codec), state, track.encryption ? pill('end to end') : null,
        h('span', { class: 'value' }, rate(rates.at(-1)))),
      spark(rates, `bit rate of ${track.source}`),
      layers.length > 0 && track.kind === 'video' ? h('ul', { class: 'layers', 'aria-label': 'layers' }, layers.map(layer)) : null,
      h('p', { class: 'quiet' }, [lost, typeof sent?.jitter_ms === 'number' ? `jitter ${Math.round(sent.jitter_ms)} ms` : null, sent?.plis_sent ? `${sent.plis_sent} key frames asked` : null].filter(Boolean).join(' · ')),
      track.muted ? null : h('button', { class: 'link small', type: 'button', 'data-act': 'mute', 'data-track': track.track, 'data-source': track.source, ...who }, 'Mute'));
  }
}

/** @param {any} seen */
function recorder(seen) {
  const how = seen.recorder;
  return h('section', { class: 'card recorder', 'data-testid': 'recorder' },
    h('h2', {}, 'Recording'),
    h('dl', { class: 'facts' },
      fact('Id', short(seen.recording.id)), fact('State', how?.state ?? 'does not answer'), fact('Since', ago(seen.recording.started_at)),
      fact('Sources', how?.groups?.length ?? '–'), fact('Packets that wait', how?.lag_packets ?? 0), fact('Packets lost', how?.dropped_packets ?? '–')),
    how?.missing?.length > 0 ? h('ul', { class: 'failures' }, how.missing.map((/** @type {string} */ it) => h('li', {}, it))) : null);
}

/**
 * @param {any} member
 * @param {any} seen
 */
function received(member, seen) {
  const tracks = lists(member, 'subscribed');
  if (tracks.length === 0) return h('p', { class: 'quiet' }, 'Receives nothing.');
  const all = seen.room.participants.flatMap((/** @type {any} */ it) => it.tracks.map((/** @type {any} */ track) => [track.track, { ...track, from: it.display_name }]));
  const known = new Map(all);
  return h('details', { class: 'received', 'data-key': 'received' },
    h('summary', {}, `Receives ${tracks.length} ${tracks.length === 1 ? 'track' : 'tracks'}`),
    h('ul', {}, tracks.map((/** @type {any} */ it) => {
      const track = known.get(it.track);
      const now = it.current_layer;
      const words = [
        track ? `${SOURCES[track.source] ?? track.source} of ${track.from}` : 'a track',
        track?.kind === 'video' ? (now ? `layer ${now.spatial}.${now.temporal} of ${it.ceiling_layer.spatial}.${it.ceiling_layer.temporal}` : 'paused') : null,
        it.fraction_lost > 0 ? `${(it.fraction_lost * 100).toFixed(1)} % lost` : null,
        it.retransmitted > 0 ? `${it.retransmitted} sent again` : null,
      ];
      return h('li', { 'data-key': it.track }, words.filter(Boolean).join(' · '));
    })));
}

/** The sizes that are sent, each with all of its layers in time. @param {any[]} layers */
function sizes(layers) {
  /** @type {Map<number, any>} */
  const whole = new Map();
  for (const it of layers) {
    if (it.active && it.temporal >= (whole.get(it.spatial)?.temporal ?? 0)) whole.set(it.spatial, it);
  }
  return [...whole.values()];
}

/** @param {any} it */
function layer(it) {
  return h('li', {}, h('span', {}, it.width > 0 ? `${it.width}×${it.height}` : `layer ${it.spatial}`), h('span', {}, rate(it.bitrate_bps)));
}

/**
 * @param {number} lost
 * @param {number} received
 */
function loss(lost, received) {
  const share = lost > 0 ? lost / (lost + received) : 0;
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 0)} % lost`;
}

/** @param {any} member @returns {any[]} */
function connections(member) {
  return member?.media?.connections ?? [];
}

/** @param {any} member @param {string} list @returns {any[]} */
function lists(member, list) {
  return connections(member).flatMap((it) => it[list] ?? []);
}

/**
 * @param {string} name
 * @param {import('./draw.js').Child} value
 */
function fact(name, value) {
  return h('div', {}, h('dt', {}, name), h('dd', {}, value));
}
