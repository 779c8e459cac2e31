"""The two libp2p protocols that other implementations expect of anyone: identify and ping."""

from __future__ import annotations

from typing import Final

from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import identify_handler_for

from p2p.libp2p_gossip import GossipHost
from p2p.libp2p_streams import Connection, StreamPipe
from p2p.link import ExtraHandler, Paced, PeerLink
from p2p.yamux_stream import YamuxStream

IDENTIFY_PROTOCOL: Final = str(IDENTIFY)
PING_PROTOCOL: Final = "/ipfs/ping/1.0.0"
_MAX_READ: Final = 1024


async def serve_ping(link: PeerLink, stream: YamuxStream) -> None:
    """Send back what comes, as the ping specification says, until the peer has enough."""
    paced = Paced(stream)
    while data := await paced.read():
        await stream.write(data)


def identify_server(host: GossipHost) -> ExtraHandler:
    """Tell a peer who we are and what we speak."""
    handler = identify_handler_for(host)

    async def serve(link: PeerLink, stream: YamuxStream) -> None:
        await handler(StreamPipe(stream, _MAX_READ, IDENTIFY_PROTOCOL, Connection(link.peer)))

    return serve
