"""What Schemathesis does not know by itself: bodies of WHIP and WHEP, as text or as whatever it makes up."""

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def description(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
