"""The style sheet, the script and the icon: files of ours that never change."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.web.dashboard.gate import guarded
from receiver.web.dashboard.rendering import ASSETS

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return guarded(Response("there is no such file", 404, media_type="text/plain"))
    body, _ = ASSETS[name]
    kind = _KINDS[name.rpartition(".")[2]]
    answer = Response(body, media_type=kind)
    answer.headers["cache-control"] = "public, max-age=31536000, immutable"
    return guarded(answer)


ROUTES = [Route("/ui/static/{name}", _asset, methods=["GET"])]
