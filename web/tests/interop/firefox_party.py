"""One side of a call in Firefox, driven by WebDriver BiDi: publishes by WHIP, or views by WHEP; or joins by the SDK, and publishes
a camera in several sizes or watches one.

firefox_party.py publish|view|simulcast|watch URL TOKEN CODEC

Of `simulcast` and `watch` the last part of the URL names the room. Prints one JSON object a line: {"ready": true} once it is
connected, {"frames": n} as pictures are decoded; {"sent": {rid: width}} of the sizes it sends, {"width": n} of what it watches. A
line of its input, {"quality": "low"}, chooses what it watches. Ends with its input.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from urllib.parse import urljoin

import aiohttp

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.devices.insecure.enabled": True,
    "media.getusermedia.insecure.enabled": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
}

START = """
async (role, path, token, codec) => {
  const connection = new RTCPeerConnection();
  globalThis.connection = connection;
  if (role === 'publish') {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true, fake: true });
    for (const track of media.getTracks()) connection.addTransceiver(track, { direction: 'sendonly', streams: [media] });
  } else {
    connection.addTransceiver('audio', { direction: 'recvonly' });
    connection.addTransceiver('video', { direction: 'recvonly' });
    connection.ontrack = ({ track }) => {
      const element = document.createElement(track.kind);
      element.muted = true;
      element.autoplay = true;
      element.srcObject = new MediaStream([track]);
      document.documentElement.append(element);
    };
  }
  const video = connection.getTransceivers().find((it) => (it.receiver.track.kind === 'video'));
  const known = RTCRtpReceiver.getCapabilities('video').codecs;
  const wanted = known.filter((it) => it.mimeType === `video/${codec}` || it.mimeType === 'video/rtx');
  if (!wanted.some((it) => it.mimeType === `video/${codec}`)) return 'no codec';
  video.setCodecPreferences(wanted);
  await connection.setLocalDescription();
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' };
  const response = await fetch(path, { method: 'POST', headers, body: connection.localDescription.sdp });
  const sdp = await response.text();
  if (response.status !== 201) return `${response.status} ${sdp}`;
  globalThis.session = response.headers.get('location');
  await connection.setRemoteDescription({ type: 'answer', sdp });
  return 'ok';
}
"""

with open(os.path.join(os.path.dirname(__file__), "room_page.js"), encoding="utf-8") as source:
    ROOM_PAGE = "\n".join(line for line in source.read().splitlines() if not line.startswith("//"))


def of_room(name):
    """A function of a page that joins by the SDK."""
    return f"(...given) => {ROOM_PAGE}.{name}(...given)"


LOOK = """
async () => {
  const report = await globalThis.connection.getStats();
  const row = [...report.values()].find((it) => it.type === 'inbound-rtp' && it.kind === 'video');
  return JSON.stringify([globalThis.connection.connectionState, row?.framesDecoded ?? 0]);
}
"""

END = "async (token) => { await fetch(globalThis.session, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } }); }"


def say(**what):
    print(json.dumps(what), flush=True)


class Browser:
    """A Firefox with a profile of its own."""

    def __init__(self, socket):
        self.socket, self.asked = socket, 0

    async def ask(self, method, **params):
        self.asked += 1
        await self.socket.send_json({"id": self.asked, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("id") == self.asked:
                assert message["type"] == "success", message
                return message["result"]

    async def call(self, context, function, *arguments):
        result = await self.ask(
            "script.callFunction",
            functionDeclaration=function,
            awaitPromise=True,
            target={"context": context},
            arguments=[{"type": "string", "value": it} for it in arguments],
        )
        assert result["type"] == "success", result
        return result["result"].get("value")


async def drive(browser, role, url, token, codec):
    await browser.ask("session.new", capabilities={})
    context = (await browser.ask("browsingContext.getTree"))["contexts"][0]["context"]
    # A page of the same origin; JSON would be shown by a viewer of another.
    await browser.ask("browsingContext.navigate", context=context, url=urljoin(url, "/"), wait="complete")
    by_sdk = role in ("simulcast", "watch")
    outcome = await browser.call(context, of_room("join") if by_sdk else START, role, url, token, codec)
    assert outcome == "ok", outcome
    await (follow_room if by_sdk else follow)(browser, context, role)
    await (browser.call(context, of_room("leave")) if by_sdk else browser.call(context, END, token))


async def follow(browser, context, _):
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    told = seen = None
    while not ended.done():
        state, frames = json.loads(await browser.call(context, LOOK))
        if state == "connected" and told is None:
            told = say(ready=True) or True
        if frames and frames != seen:
            seen = frames
            say(frames=frames)
        await asyncio.wait([ended], timeout=0.2)


async def follow_room(browser, context, role):
    read = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)  # noqa: E731
    line, told = read(), None
    while True:
        seen = await browser.call(context, of_room("look"), role)
        if seen != told:
            told = seen
            say(**json.loads(seen))
        await asyncio.wait([line], timeout=0.2)
        if line.done():
            if not line.result():
                return
            await browser.call(context, of_room("choose"), json.loads(line.result())["quality"])
            line = read()


async def main(role, url, token, codec):
    profile = tempfile.mkdtemp(prefix="caside-firefox-")
    with open(os.path.join(profile, "user.js"), "w", encoding="utf-8") as file:
        for name, value in PREFERENCES.items():
            file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
    command = ["firefox-esr", "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0", "about:blank"]
    environment = {**os.environ, "HOME": profile, "MOZ_DISABLE_CONTENT_SANDBOX": "1"}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        address = None
        while address is None:
            line = await asyncio.wait_for(process.stderr.readline(), 60)
            assert line, "Firefox ended"
            found = re.search(rb"WebDriver BiDi listening on (ws://\S+)", line)
            address = found and found[1].decode()
        drain = asyncio.ensure_future(process.stderr.read())
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{address}/session", max_msg_size=0) as socket:
            await drive(Browser(socket), role, url, token, codec)
        drain.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


asyncio.run(main(*sys.argv[1:5]))
