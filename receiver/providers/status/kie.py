"""
kie.ai, asked about a task: of its jobs API, or of Veo.

A task's id does not say which API it is of, so both are asked, the likelier first.  The
HTTP status is 200 also for failures; `code` in the body is what counts.  A callback of
the jobs API has "the same structure as the answer to a query", with 501 as its code for
a task that failed; Veo's is made of the answer's parts.

Sources: https://docs.kie.ai/market/common/get-task-detail,
https://docs.kie.ai/veo3-api/get-veo-3-video-details and the pages of the callbacks.
"""

from collections.abc import Mapping
from typing import Any

from receiver.providers.status.base import (
    Conversation,
    Found,
    KeyRefused,
    Made,
    Query,
    Reply,
    StatusApi,
    Unanswered,
    UnknownSubject,
    about,
    inner,
    made,
    segment,
)
from receiver.providers.values import count, first_text, table, text

JOBS = "/api/v1/jobs/recordInfo"
VEO = "/api/v1/veo/record-info"

_FAILED = 501
_NOT_THERE = frozenset({404, 422})


class KieStatus(StatusApi):
    """See the module."""

    base = "https://api.kie.ai"

    def ask(self, subject: str) -> Conversation:
        segment(subject)  # whether it can be an id at all
        places = (VEO, JOBS) if subject.startswith("veo") else (JOBS, VEO)
        for place in places:
            reply = yield Query(place, {"taskId": subject})
            task = _task(reply, subject)
            if task:
                return _of_jobs(task) if place == JOBS else _of_veo(task)
        raise UnknownSubject("neither its jobs API nor Veo knows this id")


def _task(reply: Reply, subject: str) -> Mapping[str, Any]:
    """
    What the answer has of the task; nothing where it has none.

    Raises:
        KeyRefused, Unanswered: see there.
    """
    body, task = table(reply.data), inner(table(reply.data), "data")
    if task:
        return about(task, "taskId", subject)
    code = count(body.get("code"))
    if code in (401, 403):
        raise KeyRefused("it answered with code 401")
    if reply.status == 404 or code in _NOT_THERE or code == 200:
        return {}
    if code is None:
        raise Unanswered("it answered without a code")
    raise Unanswered(f"it answered with code {code}")


def _of_jobs(task: Mapping[str, Any]) -> Found:
    word = text(task.get("state"))
    if word == "success":
        msg = "Playground task completed successfully."
        return Found(word, True, (_webhook(200, msg, task),))
    if word == "fail":
        return Found(word, True, (_webhook(_FAILED, "Playground task failed.", task),))
    return Found(word, False)


def _of_veo(task: Mapping[str, Any]) -> Found:
    flag = count(task.get("successFlag"))
    about_it = {"taskId": task["taskId"], "promptJson": task.get("paramJson")}
    fallback = {"fallbackFlag": task.get("fallbackFlag")}
    if flag == 1:
        response = inner(task, "response")
        names = ("resultUrls", "originUrls", "imageUrls", "resolution")
        info = {n: response[n] for n in names if response.get(n) is not None}
        data = _there({**about_it, "info": info, **fallback})
        # Only a 4K version's answer has these, by the page.
        kind = "4K Video" if response.get("mediaIds") else "Veo3.1 video"
        msg = f"{kind} generated successfully."
        return Found("success", True, (_webhook(200, msg, data),))
    if flag in (2, 3):
        code = count(task.get("errorCode")) or _FAILED
        msg = first_text(task.get("errorMessage"), "failed")
        data = _there({"taskId": task["taskId"], **fallback})
        return Found("failed", True, (_webhook(code, msg, data),))
    return Found("generating" if flag == 0 else "", False)


def _there(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


def _webhook(code: int, msg: str, data: Mapping[str, Any]) -> Made:
    return made({"code": code, "msg": msg, "data": data})
