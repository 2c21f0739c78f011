"""
What a provider is: the kind of sender of one source.

A provider declares how its requests are signed (`schemes`) and says what a body means
(`read`); everything else has a default here.  Pure: it takes values, and touches
neither clocks nor disk.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from receiver.models import Headers, Reading, Request, Scalar, Signed, State
from receiver.providers import asking
from receiver.schemes import Scheme, key_of, keys_of, known_ids
from receiver.settings import Source


class Provider:
    """The sender of one source; made anew for every source and configuration."""

    schemes: tuple[Scheme, ...] = ()
    """How it signs; a request that fits one of them is authentic."""

    tolerance: timedelta | None = None
    """How old or early its signed timestamps may be, unless the source says otherwise."""

    answer: Mapping[str, Scalar] = {}
    """What its sender expects in the body of a 200, beside or instead of ours."""

    refused_status: int = 401
    """The status of a bad signature; another where a 401 would end all retries."""

    keys_url: str = ""
    """Where it publishes the keys its signatures are verified with, if it does."""

    published: Sequence[bytes] = ()
    """Those keys, as they were fetched last; set by who fetches them."""

    status_api: str = ""
    """Whose API can be asked about its subjects; see `receiver.providers.status`."""

    asks_options: bool = False
    """Whether it checks the address with an OPTIONS request."""

    unsigned_hint: str = 'write token = "${...}" instead'
    """What to do where it does not sign and yet was given secrets."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.provider
        self._keys = {
            scheme: keys_of(scheme, source.secrets) for scheme in self.schemes
        }

    # -- verifying

    @property
    def signs(self) -> frozenset[Signed]:
        """What every one of its signatures covers; a change of any must be refused."""
        covered = [scheme.covers for scheme in self.schemes]
        return frozenset.intersection(*covered) if covered else frozenset()

    @cached_property
    def signature_headers(self) -> frozenset[str]:
        """Headers that carry signatures; masked wherever headers are shown."""
        return frozenset(scheme.header for scheme in self.schemes)

    @property
    def needs_secret(self) -> bool:
        """Whether a source without secrets would take what anybody sends."""
        return True

    def keys(self, scheme: Scheme) -> Sequence[bytes]:
        """The keys a signature of this scheme may have been made with."""
        return self._keys[scheme]

    def check_sender(self, request: Request) -> None:
        """
        Look at whose an authentic request is, where the sender signs for others too.

        Raises:
            Rejected: it is not for this source.
        """

    def is_test_ping(self, request: Request) -> bool:  # noqa: ARG002 (few have one)
        """Whether this is the provider's unsigned test, which is answered, not kept."""
        return False

    def ids(self, request: Request) -> Sequence[str]:  # noqa: ARG002 (few sign one)
        """What may be the id its signature covers, where that is not in a header."""
        return ()

    def moment(self, request: Request) -> datetime | None:  # noqa: ARG002
        """When a request was sent by its body, where no timestamp is signed beside it."""
        return None

    @property
    def confirms(self) -> bool:
        """Whether deliveries wait until its API says the same as what arrived."""
        source = self.source
        if source.confirm is not None or not (source.api_key and self.status_api):
            return source.confirm is True
        return not (source.secrets and "body" in self.signs)

    # -- reading

    def read(self, request: Request, data: Any) -> Reading:
        """
        What a verified request means; `data` is its parsed body.

        Raises:
            Rejected: what makes it an event is missing.
        """
        raise NotImplementedError

    @property
    def item_cost(self) -> int | None:
        """What an item of a batch costs, where all cost the same."""
        return None

    def expects(self, facts: Mapping[str, Scalar]) -> frozenset[State]:  # noqa: ARG002
        """What it tells of before it tells the end of a subject with these facts."""
        return frozenset()

    # -- configuring

    def problems(self) -> Iterable[tuple[str, str, str]]:
        """What is wrong with the source beyond single fields: (field, message, hint)."""
        source = self.source
        yield from self.missing_extra()
        yield from asking.problems(source, self.status_api, confirms=self.confirms)
        guarded = source.has_condition or (self.schemes and source.secrets)
        if self.needs_secret and not guarded and not source.allow_unsigned:
            ways = 'secrets = ["${...}"], or a token' if self.schemes else "a token"
            hint = f"set {ways}, or allow_unsigned = true"
            field = "secrets" if self.schemes else "token"
            yield field, "anybody could post here: no secret", hint
        if source.secrets and not self.schemes:
            message = f"{source.provider} does not sign its requests"
            yield "secrets", message, self.unsigned_hint
            return
        if source.tolerance is not None and not self._signs_time:
            message = "its requests have no time that is signed"
            yield "tolerance", message, "remove it: every request would be refused"
        for i, secret in enumerate(source.secrets):
            if why := self.unfit(secret):
                yield f"secrets[{i}]", f"does not fit: {why}", "copy it again"

    @property
    def _signs_time(self) -> bool:
        verified = bool(self.source.secrets) or not self.needs_secret
        in_scheme = any("timestamp" in scheme.covers for scheme in self.schemes)
        return (verified and in_scheme) or type(self).moment is not Provider.moment

    def unfit(self, secret: str) -> str:
        """Why a secret cannot be a key of any of its schemes; empty if it can."""
        found = [_unfit(scheme, secret) for scheme in self.schemes]
        return found[0] if all(found) else ""

    def missing_extra(self) -> Iterable[tuple[str, str, str]]:
        """That what verifies its signatures is not installed, if it is not."""
        used = (s for s in self.schemes if self._keys[s] or not self.needs_secret)
        public = any(scheme.algorithm == "ed25519" for scheme in used)
        if public and find_spec("cryptography") is None:
            message = "its signatures need a library that is not installed"
            hint = "install it beside receiver: pip install cryptography"
            yield "provider", message, hint

    def warnings(self) -> Iterable[tuple[str, str]]:
        """What is allowed but risky: (field, message)."""
        return ()

    # -- being it, to try things out

    def scheme_for(self, body: bytes, secret: str = "") -> Scheme | None:  # noqa: ARG002
        """The scheme it would sign this body by, with this secret or the first."""
        return self.schemes[0] if self.schemes else None

    def sending_headers(self, body: bytes, message_id: str) -> Headers:  # noqa: ARG002
        """What else it would send with this body, signatures apart."""
        return {}

    def sending_id(self, scheme: Scheme, request: Request, message_id: str) -> str:
        """The id it would sign: `message_id`, or what its own body says."""
        found = known_ids(scheme, request, self.ids(request))
        return found[0] if found else message_id


def _unfit(scheme: Scheme, secret: str) -> str:
    """Why a secret cannot be a key of this scheme; empty if it can."""
    try:
        key_of(scheme.key, secret)
    except ValueError as error:
        return str(error)
    return ""
