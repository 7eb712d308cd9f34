"""One side of a call in aiortc: publishes by WHIP, or views by WHEP.

aiortc_party.py publish|view URL TOKEN CODEC

Prints one JSON object a line: {"ready": true} once it is connected, {"frames": n} as pictures are decoded. Ends with its input.
"""

import asyncio
import fractions
import json
import sys

import aiohttp
import av
import numpy
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack


def say(**what):
    print(json.dumps(what), flush=True)


class Picture(VideoStreamTrack):
    """A bar that moves."""

    count = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        image = numpy.zeros((360, 640, 3), numpy.uint8)
        at = (self.count * 8) % 600
        image[:, at : at + 40] = (40, 200, 80)
        self.count += 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


async def count(track: MediaStreamTrack):
    frames = 0
    while True:
        try:
            await track.recv()
        except MediaStreamError:
            return
        if track.kind == "video":
            frames += 1
            say(frames=frames)


async def main(role, url, token, codec):
    connection = RTCPeerConnection()
    tasks = []
    if role == "publish":
        connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
        video = connection.addTransceiver(Picture(), direction="sendonly")
    else:
        connection.addTransceiver("audio", direction="recvonly")
        video = connection.addTransceiver("video", direction="recvonly")
        connection.on("track", lambda track: tasks.append(asyncio.ensure_future(count(track))))
    known = RTCRtpReceiver.getCapabilities("video").codecs
    wanted = [it for it in known if it.mimeType.lower() in (f"video/{codec}".lower(), "video/rtx")]
    video.setCodecPreferences(wanted)

    @connection.on("connectionstatechange")
    def changed():
        if connection.connectionState == "connected":
            say(ready=True)

    await connection.setLocalDescription(await connection.createOffer())
    headers = {"authorization": f"Bearer {token}", "content-type": "application/sdp"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(url, data=connection.localDescription.sdp) as response:
            answer = await response.text()
            assert response.status == 201, (response.status, answer)
            session = response.headers["location"]
        await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        async with http.delete(aiohttp.client.URL(url).join(aiohttp.client.URL(session))):
            pass
    await connection.close()


asyncio.run(main(*sys.argv[1:5]))
