"""Answers that are not JSON."""

from starlette.responses import Response

ATTACHED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
}
"""What a stranger sent must never be run or rendered as a page of ours."""


def download(body: bytes, name: str) -> Response:
    """Bytes as they are, to be saved under a name that we made."""
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(
        body, headers=ATTACHED | disposition, media_type="application/octet-stream"
    )
