"""
A destination's own templates: found in its settings, checked, and rendered elsewhere.

A template that fails on an event, or takes too long over it, must not cost anybody the
news: who asks is told why it failed, and sends the built-in text with a note.
"""

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace

from receiver.child import Ending, Pool
from receiver.destinations import Parcel
from receiver.messages import Message, compose
from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.words import clean
from receiver.models import Event, Outcome
from receiver.settings import DestinationSettings, TextFile

WORKERS = 2
"""Child processes for one destination at most."""

LONGEST_WAIT_S = 10.0
"""For a turn and the rendering; less where an attempt has less than twice that."""

Forms = Mapping[str, Form]
"""Settings that hold templates, by name; a `NAME_file` may stand for one."""


def problems(
    settings: DestinationSettings, forms: Forms
) -> Iterable[tuple[str, str, str]]:
    """What is wrong with the templates in the settings: (field, message, hint) each."""
    for name, form in forms.items():
        inline, file = _declared(settings, name)
        if inline is not None and file is not None:
            yield name, f"and {name}_file are both there", "keep one of them"
            continue
        source = inline if file is None else file.text
        if source is None:
            continue
        from receiver.messages.templating import problem  # noqa: PLC0415 (jinja2 takes 0.1 s)

        wrong = problem(source, form)
        if wrong and file is not None:
            yield f"{name}_file", f"{file.path}, {wrong}", ""
        elif wrong:
            yield name, wrong, ""


def _declared(
    settings: DestinationSettings, name: str
) -> tuple[str | None, TextFile | None]:
    return getattr(settings, name), getattr(settings, f"{name}_file", None)


def built_in(event: Event, note: str = "") -> Message:
    """The message without templates; `note` is why it stands for one of theirs."""
    message = compose(event)
    return message.noting("Note", noted(note)) if note else message


def told(outcome: Outcome, note: str) -> Outcome:
    """The same, but where the built-in text went out, `note` is why."""
    if not note or not outcome.ok:
        return outcome
    return replace(outcome, detail=f"{outcome.detail}; {noted(note)}")


def noted(why: str) -> str:
    """What is said where the built-in text stands for a template's."""
    return f"the template failed, so this is the built-in text ({clean(why, 200)})"


class Templates:
    """Renders the templates of one destination, in child processes."""

    def __init__(self, settings: DestinationSettings, forms: Forms) -> None:
        self._templates: dict[str, tuple[Form, str]] = {}
        for name, form in forms.items():
            inline, file = _declared(settings, name)
            source = inline if file is None else file.text
            if source is not None:
                self._templates[name] = (form, source)
        self._destination = {"name": settings.name, "type": settings.type}
        self._wait_s = min(LONGEST_WAIT_S, settings.timeout.total_seconds() / 2)
        program = (sys.executable, "-P", "-m", "receiver.messages.renderer")
        self.pool = Pool(program, min(settings.concurrency, WORKERS))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._templates)

    async def render(self, parcel: Parcel) -> Mapping[str, str]:
        """
        The texts by the names of their settings, each harmless in its form.

        Raises:
            TemplateFailed: one of them failed; the text says which, and why.
        """
        from receiver.messages.renderer import question, rendered  # noqa: PLC0415 (jinja2 takes 0.1 s)

        asked = question(parcel.event, self._templates, self._destination)
        try:
            async with asyncio.timeout(self._wait_s):
                answer = await self.pool.ask(asked)
        except TimeoutError:
            raise TemplateFailed(
                f"nothing was made of it within {self._wait_s:g} s"
            ) from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise TemplateFailed(f"no process could be started: {why}") from None
        if not isinstance(answer, Ending):
            return rendered(answer)
        if answer.status == -signal.SIGPROF:
            raise TemplateFailed("it takes too long")
        raise TemplateFailed(f"its process ended ({answer})")

    async def close(self) -> None:
        await self.pool.close()
