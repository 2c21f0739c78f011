"""What stands for a destination, and ids that nothing has."""

from aiohttp import web

UNKNOWN = {
    "evt": "evt_00000000000000ff",
    "dlv": "dlv_00000000000000ff",
    "rej": "rej_00000000000000ff",
}


def refusing(status: int):
    async def respond(_):
        return web.Response(status=status, text="no\x1b[31m\x9b")

    return respond
