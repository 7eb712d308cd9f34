"""A participant made of aiortc, a WebRTC stack that shares no code with Caside or with a browser.

Joins a room over the WebSocket protocol, publishes sound and a moving picture, receives what the others publish, and
prints one line of JSON on what it received: frames by kind and whether the sound was silent.

usage: aiortc_client.py URL TOKEN ROOM SECONDS
"""

import asyncio
import fractions
import itertools
import json
import sys
import time

import aiohttp
import av
import numpy
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError


class Tone(AudioStreamTrack):
    """A tone of 440 Hz."""

    def __init__(self):
        super().__init__()
        self.samples = 0

    async def recv(self):
        if not hasattr(self, "start"):
            self.start = time.time()
        else:
            await asyncio.sleep(max(0, self.start + self.samples / 48000 - time.time()))
        phase = (self.samples + numpy.arange(960)) * 2 * numpy.pi * 440 / 48000
        frame = av.AudioFrame.from_ndarray((numpy.sin(phase) * 8000).astype("int16")[None, :], "s16", "mono")
        frame.sample_rate = 48000
        frame.pts = self.samples
        frame.time_base = fractions.Fraction(1, 48000)
        self.samples += 960
        return frame


class Moving(VideoStreamTrack):
    """A bar that moves."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        picture = numpy.zeros((240, 320, 3), "uint8")
        picture[:, (pts // 3000 * 4) % 320] = 255
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Client:
    def __init__(self, socket):
        self.socket = socket
        self.ids = itertools.count(1)
        self.answers = {}
        self.received = {"audio": 0, "video": 0}
        self.peak = 0
        self.publish = RTCPeerConnection()
        self.subscribe = None
        self.tasks = []

    async def request(self, kind, payload):
        number = next(self.ids)
        self.answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"type": kind, "id": number, "payload": payload})
        return await asyncio.wait_for(self.answers[number], 10)

    async def read(self):
        async for message in self.socket:
            message = json.loads(message.data)
            if message.get("id") in self.answers:
                answer = self.answers.pop(message["id"])
                if message["type"] == "error":
                    answer.set_exception(RuntimeError(message["payload"]))
                else:
                    answer.set_result(message["payload"])
            elif message["type"] == "offer":
                self.tasks.append(asyncio.ensure_future(self.offered(message["payload"])))

    async def offered(self, offer):
        if self.subscribe is None:
            self.subscribe = RTCPeerConnection()
            self.subscribe.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self.consume(track))))
        await self.subscribe.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await self.subscribe.setLocalDescription(await self.subscribe.createAnswer())
        await self.request("answer", {"target": "subscribe", "sdp": self.subscribe.localDescription.sdp})

    async def consume(self, track):
        try:
            while True:
                frame = await track.recv()
                self.received[track.kind] += 1
                if track.kind == "audio":
                    self.peak = max(self.peak, int(numpy.abs(frame.to_ndarray()).max()))
        except MediaStreamError:
            pass

    async def publish_media(self):
        self.publish.addTrack(Tone())
        self.publish.addTrack(Moving())
        await self.publish.setLocalDescription(await self.publish.createOffer())
        answer = await self.request("offer", {"target": "publish", "sdp": self.publish.localDescription.sdp})
        await self.publish.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))


async def main(url, token, room, seconds):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{url}/ws?token={token}", protocols=["caside.json.v1"]) as socket:
            client = Client(socket)
            reader = asyncio.ensure_future(client.read())
            await client.request("join", {"room": room, "display_name": "aiortc"})
            await client.publish_media()
            print("published", flush=True)
            await asyncio.sleep(seconds)
            print(json.dumps({**client.received, "peak": client.peak}), flush=True)
            await client.request("leave", {})
            reader.cancel()
            await client.publish.close()
            if client.subscribe:
                await client.subscribe.close()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
