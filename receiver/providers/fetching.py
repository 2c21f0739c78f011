"""One bounded look at a document of a sender's: never redirected, slow or large."""

import aiohttp

from receiver import __version__

ANSWER_S = 5.0
"""For all of it; senders wait some ten seconds for their answer themselves."""

MOST_BYTES = 64 * 1024

_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",  # nothing that grows when it is unpacked
    "user-agent": f"receiver/{__version__}",
}


class NotFetched(Exception):
    """There is no document; says why, without the address."""


async def fetch(url: str) -> bytes:
    """
    The document at a web address.

    Raises:
        NotFetched: nobody gave one in time, or not one that is taken.
    """
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    try:
        async with (
            session,
            session.get(url, allow_redirects=False, headers=_HEADERS) as response,
        ):
            if response.status != 200:
                raise NotFetched(f"it answered {response.status}")
            return await _bounded(response)
    except TimeoutError:
        raise NotFetched(f"there was no answer within {ANSWER_S:.0f} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or type(error).__name__
        raise NotFetched(f"it cannot be reached: {words}") from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > MOST_BYTES:
            raise NotFetched(f"the answer has more than {MOST_BYTES // 1024} KiB")
    return bytes(found)
