// @ts-check
import { byId, el, initials, tint } from './dom.js';
import { preference, setPreference } from './store.js';

/** @typedef {'camera' | 'microphone'} Device */

const KINDS = /** @type {const} */ ({ camera: 'videoinput', microphone: 'audioinput' });
const METER_MS = 60;

/** The lobby's look into the mirror: which devices there are, what they show and how loud they hear. */
export class Preview {
  /** @type {Record<Device, MediaStreamTrack | null>} */ #tracks = { camera: null, microphone: null };
  /** @type {Record<Device, boolean>} */ #wanted = { camera: preference('camera') ?? true, microphone: preference('microphone') ?? true };
  /** @type {Promise<void> | null} */ #opening = null;
  /** @type {AudioContext | null} */ #audio = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #meter;
  #active = false;
  #video = /** @type {HTMLVideoElement} */ (byId('preview'));
  #buttons = { camera: byId('pre-cam'), microphone: byId('pre-mic') };
  #pickers = {
    camera: /** @type {HTMLSelectElement} */ (byId('pick-camera')),
    microphone: /** @type {HTMLSelectElement} */ (byId('pick-microphone')),
  };

  constructor() {
    for (const device of /** @type {Device[]} */ (['camera', 'microphone'])) {
      this.#buttons[device].addEventListener('click', () => this.#toggle(device));
      this.#pickers[device].addEventListener('change', () => this.#choose(device));
    }
    navigator.mediaDevices?.addEventListener('devicechange', () => this.#active && this.#list());
    this.#show();
  }

  /** Opens the devices, if it has not yet. */
  start() {
    if (this.#active) return;
    this.#active = true;
    this.#opening = this.#open(/** @type {Device[]} */ (['camera', 'microphone']).filter((device) => this.#wanted[device])).finally(() => {
      this.#opening = null;
      this.#show();
    });
    this.#show();
  }

  /** Closes the devices. */
  stop() {
    this.take();
    for (const device of /** @type {Device[]} */ (['camera', 'microphone'])) this.#close(device);
  }

  /**
   * Hands the devices over to a call; those that are still being opened come by `later`.
   *
   * @returns {{now: Partial<Record<Device, MediaStreamTrack>>, later: Promise<Partial<Record<Device, MediaStreamTrack>>> | null}}
   */
  take() {
    const later = this.#opening?.then(() => this.#hand()) ?? null;
    const now = later ? {} : this.#hand();
    this.#active = false;
    return { now, later };
  }

  /** @param {string} name shown while there is no picture */
  set name(name) {
    const avatar = byId('preview-avatar');
    avatar.hidden = name === '';
    avatar.textContent = initials(name);
    avatar.style.background = tint(name);
  }

  #hand() {
    /** @type {Partial<Record<Device, MediaStreamTrack>>} */
    const handed = {};
    for (const device of /** @type {Device[]} */ (['camera', 'microphone'])) {
      const track = this.#tracks[device];
      if (track?.readyState === 'live') handed[device] = track;
      this.#tracks[device] = null;
    }
    this.#stopMeter();
    this.#show();
    return handed;
  }

  /** @param {Device[]} devices */
  async #open(devices) {
    const media = navigator.mediaDevices;
    if (media && devices.length > 0) {
      /** @param {Device[]} which */
      const open = async (which) => {
        const stream = await media.getUserMedia({
          video: which.includes('camera') && { ...this.#constraints('camera'), width: { ideal: 1280 }, height: { ideal: 720 } },
          audio: which.includes('microphone') && { ...this.#constraints('microphone'), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
        });
        for (const track of stream.getTracks()) this.#opened(track.kind === 'video' ? 'camera' : 'microphone', track);
      };
      await open(devices).catch(() => Promise.allSettled(devices.map((device) => open([device]))));
    }
    await this.#list();
    this.#show();
  }

  /**
   * @param {Device} device
   * @param {MediaStreamTrack} track
   */
  #opened(device, track) {
    this.#close(device);
    this.#tracks[device] = track;
    track.addEventListener('ended', () => {
      if (this.#tracks[device] === track) this.#close(device);
    });
    if (device === 'microphone') this.#startMeter(track);
  }

  /** @param {Device} device */
  #close(device) {
    this.#tracks[device]?.stop();
    this.#tracks[device] = null;
    if (device === 'microphone') this.#stopMeter();
    this.#show();
  }

  /** @param {Device} device */
  async #toggle(device) {
    this.#wanted[device] = this.#tracks[device] === null;
    setPreference(device, this.#wanted[device]);
    if (this.#wanted[device]) await this.#open([device]);
    else this.#close(device);
  }

  /** @param {Device} device */
  async #choose(device) {
    setPreference(`${device}-id`, this.#pickers[device].value);
    this.#wanted[device] = true;
    await this.#open([device]);
  }

  /** @param {Device} device */
  #constraints(device) {
    const id = preference(`${device}-id`);
    return typeof id === 'string' && id !== '' ? { deviceId: { ideal: id } } : {};
  }

  async #list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    for (const device of /** @type {Device[]} */ (['camera', 'microphone'])) {
      const picker = this.#pickers[device];
      const present = devices.filter(({ kind }) => kind === KINDS[device]);
      picker.disabled = present.length === 0;
      picker.replaceChildren(
        ...present.map(({ deviceId, label }, n) => el('option', { value: deviceId }, label || `${device === 'camera' ? 'Camera' : 'Microphone'} ${n + 1}`)),
      );
      if (present.length === 0) picker.append(el('option', {}, `No ${device}`));
      const current = this.#tracks[device]?.getSettings().deviceId ?? preference(`${device}-id`);
      if (present.some(({ deviceId }) => deviceId === current)) picker.value = current;
    }
  }

  #show() {
    const { camera, microphone } = this.#tracks;
    this.#buttons.camera.setAttribute('aria-pressed', String(camera !== null));
    this.#buttons.microphone.setAttribute('aria-pressed', String(microphone !== null));
    this.#buttons.camera.title = camera ? 'Turn the camera off' : 'Turn the camera on';
    this.#buttons.microphone.title = microphone ? 'Mute the microphone' : 'Turn the microphone on';
    this.#video.hidden = camera === null;
    byId('preview-empty').hidden = camera !== null;
    const shown = /** @type {MediaStream | null} */ (this.#video.srcObject)?.getVideoTracks()[0] ?? null;
    if (shown !== camera) this.#video.srcObject = camera && new MediaStream([camera]);
    byId('preview-hint').textContent =
      !this.#active ? 'You can check your camera and microphone here before you join.'
      : this.#opening ? 'Looking for your camera…'
      : !this.#wanted.camera ? 'Your camera is off.'
      : microphone ? 'No camera to show. Others will hear you.'
      : 'No camera or microphone to use. You can join and watch.';
  }

  /** @param {MediaStreamTrack} track */
  #startMeter(track) {
    this.#stopMeter();
    const context = new AudioContext();
    this.#audio = context;
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const bars = [...byId('meter').children];
    this.#meter = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
      // −60 dBFS is silence, −6 dBFS as loud as one should be.
      const level = Math.min(1, Math.max(0, (20 * Math.log10(rms + 1e-6) + 60) / 54));
      bars.forEach((bar, n) => bar.classList.toggle('lit', n < level * bars.length));
      byId('meter').setAttribute('aria-valuenow', String(Math.round(level * 100)));
    }, METER_MS);
  }

  #stopMeter() {
    clearInterval(this.#meter);
    this.#audio?.close().catch(() => {});
    this.#audio = null;
    for (const bar of byId('meter').children) bar.classList.remove('lit');
  }
}
