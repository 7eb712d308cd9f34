"""One side of a call in GStreamer's webrtcbin: publishes by WHIP, or views by WHEP.

gstreamer_party.py publish|view URL TOKEN CODEC

Prints one JSON object a line: {"ready": true} once it is connected, {"frames": n} as pictures are decoded. Ends with its input.
"""

import json
import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

ENCODE = {
    "VP8": ("vp8enc deadline=1 keyframe-max-dist=60", "rtpvp8pay picture-id-mode=15-bit", "VP8", ""),
    "VP9": ("vp9enc deadline=1 cpu-used=8 keyframe-max-dist=60", "rtpvp9pay picture-id-mode=15-bit", "VP9", ""),
    "H264": (
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! video/x-h264,profile=constrained-baseline",
        "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
        "H264",
        ",packetization-mode=(string)1,profile-level-id=(string)42e01f",
    ),
}


def say(**what):
    print(json.dumps(what), flush=True)


class Party:
    def __init__(self, role, url, token, codec):
        self.url, self.token, self.session = url, token, None
        self.frames = 0
        encoder, payloader, name, more = ENCODE[codec]
        caps = f"application/x-rtp,media=video,encoding-name={name},payload=96,clock-rate=90000{more}"
        if role == "publish":
            # What the payloader says of profile and level is what is sent.
            caps = caps.removesuffix(more)
            text = f"""
                webrtcbin name=bin bundle-policy=max-bundle
                videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert
                  ! {encoder} ! {payloader} pt=96 ! {caps} ! queue ! bin.
                audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! opusenc ! rtpopuspay pt=97
                  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2
                  ! queue ! bin."""
            self.pipeline = Gst.parse_launch(text)
        else:
            self.pipeline = Gst.Pipeline.new()
            element = Gst.ElementFactory.make("webrtcbin", "bin")
            element.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(element)
        self.bin = self.pipeline.get_by_name("bin")
        if role == "view":
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.bin.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
            audio = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"
            self.bin.emit("add-transceiver", direction, Gst.Caps.from_string(audio))
            self.bin.connect("pad-added", self.incoming)
        else:
            index = 0
            while (transceiver := self.bin.emit("get-transceiver", index)) is not None:
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
                transceiver.set_property("do-nack", True)
                index += 1
        self.bin.connect("notify::connection-state", self.state)
        self.bin.connect("on-negotiation-needed", self.negotiate)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.fail(message.parse_error()))
        self.pipeline.set_state(Gst.State.PLAYING)

    def fail(self, why):
        print(why, file=sys.stderr, flush=True)
        loop.quit()

    def state(self, *_):
        if self.bin.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            say(ready=True)

    def negotiate(self, *_):
        promise = Gst.Promise.new_with_change_func(self.offered)
        self.bin.emit("create-offer", None, promise)

    def offered(self, promise, *_):
        promise.wait()
        # The offer is of the reply, which must outlive it.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        text = offer.sdp.as_text()
        self.bin.emit("set-local-description", offer, Gst.Promise.new())
        threading.Thread(target=self.exchange, args=(text,), daemon=True).start()

    def exchange(self, offer):
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/sdp"}
        request = urllib.request.Request(self.url, offer.encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                self.session = urllib.parse.urljoin(self.url, response.headers["location"])
                answer = response.read().decode()
        except urllib.error.HTTPError as error:
            return self.fail((error.code, error.read()))
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.bin.emit("set-remote-description", description, Gst.Promise.new())

    def incoming(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decode = Gst.ElementFactory.make("decodebin")
        decode.connect("pad-added", self.decoded)
        self.pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    def decoded(self, _, pad):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))
        if pad.get_current_caps().to_string().startswith("video/"):
            pad.add_probe(Gst.PadProbeType.BUFFER, self.frame)

    def frame(self, *_):
        self.frames += 1
        say(frames=self.frames)
        return Gst.PadProbeReturn.OK

    def leave(self):
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            headers = {"authorization": f"Bearer {self.token}"}
            try:
                urllib.request.urlopen(urllib.request.Request(self.session, headers=headers, method="DELETE"), timeout=5)
            except urllib.error.HTTPError:
                pass


def end_with_input():
    sys.stdin.read()
    GLib.idle_add(loop.quit)


Gst.init(None)
loop = GLib.MainLoop()
party = Party(*sys.argv[1:5])
threading.Thread(target=end_with_input, daemon=True).start()
loop.run()
party.leave()
