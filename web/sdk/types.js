// @ts-check
/**
 * Shapes of the wire (docs/protocol.md) and of the SDK's own interface.
 *
 * @typedef {'camera' | 'microphone' | 'screen' | 'screen-audio' | 'file'} Source
 * @typedef {'viewer' | 'participant' | 'moderator' | 'host'} Role
 * @typedef {'sfu' | 'p2p'} Mode
 * @typedef {'excellent' | 'good' | 'poor' | 'lost'} Quality
 *
 * @typedef {object} WireTrack
 * @property {string} track
 * @property {string} participant_id
 * @property {'audio' | 'video'} kind
 * @property {Source} source
 * @property {string | null} label
 * @property {string} codec
 * @property {string | null} [encryption] what its frames are encrypted with end to end, in its sender's word
 * @property {boolean} muted
 * @property {boolean} held
 * @property {string[]} layers
 *
 * @typedef {object} WireParticipant
 * @property {string} participant_id
 * @property {string} user
 * @property {string} display_name
 * @property {Role} role
 * @property {string} joined_at
 * @property {'connected' | 'lost'} connection
 * @property {WireTrack[]} tracks
 *
 * @typedef {object} WireRoomState
 * @property {string} room
 * @property {string} [name]
 * @property {Mode} mode
 * @property {boolean} locked
 * @property {string | null} recording
 * @property {WireParticipant[]} participants
 * @property {string[]} active_speakers
 * @property {unknown} [metadata]
 *
 * @typedef {{source: Source, label?: string, muted?: boolean, encryption?: string, track?: string}} TrackSource what a client says of one of its
 *   m-lines; `track`: the id that it had on the node that the room was on before
 * @typedef {{track: string, participant_id: string, source: Source}} OfferedTrack what the SFU says of one of its
 *
 * @typedef {object} Capture what to publish; `true` takes the default device
 * @property {boolean | MediaTrackConstraints | MediaStreamTrack} [camera]
 * @property {boolean | MediaTrackConstraints | MediaStreamTrack} [microphone]
 * @property {boolean | DisplayMediaStreamOptions} [screen]
 * @property {{track: MediaStreamTrack, source?: Source, label?: string}[]} [tracks]
 *
 * @typedef {object} JoinOptions
 * @property {string} [displayName] the token's name when left out
 * @property {'auto' | 'manual'} [subscribe] whether the others' tracks are offered unasked (default `auto`)
 * @property {'sfu' | 'p2p' | 'auto'} [mode] counts when this join makes the room
 * @property {number} [lastN] receives the cameras of so many last speakers; 0: all (default: the room's own number)
 * @property {VideoOptions} [video] how pictures are encoded
 * @property {AudioOptions} [audio] how sound is encoded
 * @property {EncryptionOptions} [encryption] of frames, end to end, through the SFU
 * @property {Capture} [publish] captured while joining; what fails is reported by an `error` event
 *
 * @typedef {object} VideoOptions
 * @property {'vp8' | 'h264' | 'vp9' | 'av1'} [codec] what is sent if the browser can (default: its own choice, mostly VP8)
 * @property {boolean} [simulcast] whether a camera is sent in several sizes (default `true`)
 *
 * @typedef {object} AudioOptions
 * @property {boolean} [red] whether each packet has the one before again (RFC 2198), for twice the bits (default `true`)
 * @property {boolean} [dtx] whether nothing is sent while nobody speaks (default `false`)
 *
 * @typedef {object} EncryptionOptions
 * @property {string} name what the others are told: 1 to 64 of `A-Z a-z 0-9 . _ -`
 * @property {(rtp: RTCRtpSender | RTCRtpReceiver) => void} transform sets the transform of a sender or receiver. It is called before the
 *   first frame, and again for the same one whenever tracks are negotiated: then it is to do nothing.
 *
 * @typedef {object} RemoteTrack
 * @property {string} id the track's id; made up in a peer-to-peer room
 * @property {string} participantId
 * @property {Source} source
 * @property {MediaStreamTrack} mediaTrack
 * @property {boolean} [muted] as its sender said, in a peer-to-peer room
 * @property {string} [label]
 */
export {};
