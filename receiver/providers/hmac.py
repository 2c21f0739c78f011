"""
Any sender that signs with a shared secret, or not at all, as configuration says.

    [sources.shop]
    provider = "hmac"
    secrets = ["${SHOP_SECRET}"]
    signatures = [{ header = "X-Shop-Signature", prefix = "sha256=" }]

The presets are such tables that come with us.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from receiver.models import Scalar
from receiver.providers.mapped import Mapped, MappedSource
from receiver.schemes import Encoding, Scheme, TimeFormat
from receiver.settings import option

_HEADER = re.compile(r"[A-Za-z0-9_-]+")
_IN_BRACES = re.compile(r"\{[^{}]*\}")
_OF_HEADER = re.compile(r"\{header\.[a-z0-9_-]+\}")
KNOWN = ("{body}", "{sha256}", "{timestamp}", "{id}", "{header.NAME}")

_Trouble = tuple[str, str, str]


@dataclass(frozen=True)
class Signature:
    """One way in which the sender may sign; `receiver.schemes.Scheme` in a table."""

    header: str = option(help="the header with the signature")
    prefix: str = option("", help="what a signature in it begins with")
    separator: str = option("", help="what is between several items in the header")
    algorithm: Literal["sha256", "sha512", "sha1"] = option(
        "sha256", help="sha256 or sha512, the hash of the HMAC; sha1 with allow_sha1"
    )
    encoding: Encoding = option("hex", help="how it is written: hex or base64")
    key: Literal["text", "base64", "hex", "whsec"] = option(
        "text", help="the secret as it is (text), or decoded: base64, hex or whsec"
    )
    signed: str = option(
        "{body}",
        help="the signed bytes, of {body} {sha256} {timestamp} {id} {header.NAME}",
    )
    id_header: str = option("", help="the header with the id that is signed")
    timestamp_header: str = option("", help="the header with the time that is signed")
    timestamp_prefix: str = option(
        "", help="what the time begins with, in a header of several items"
    )
    timestamp_format: TimeFormat = option(
        "unix", help="how the time is written: unix, unix_ms or iso"
    )

    @property
    def scheme(self) -> Scheme:
        return Scheme(
            header=self.header.lower(),
            signed=_IN_BRACES.sub(lambda found: found[0].lower(), self.signed),
            prefix=self.prefix,
            separator=self.separator,
            algorithm=self.algorithm,
            encoding=self.encoding,
            key=self.key,
            id_header=self.id_header.lower(),
            timestamp_header=self.timestamp_header.lower(),
            timestamp_prefix=self.timestamp_prefix,
            timestamp_format=self.timestamp_format,
        )


@dataclass(frozen=True)
class HmacSource(MappedSource):
    """How the sender signs, and what it expects, beside what its bodies mean."""

    signatures: tuple[Signature, ...] = option(
        (), help="how it signs; any that holds will do; none if it does not sign"
    )
    allow_sha1: bool = option(False, help="let signatures be made with sha1")
    refused_status: int = option(
        401,
        help="the answer to a request that is not authentic",
        least=400,
        most=599,
    )
    asks_options: bool = option(False, help="answer OPTIONS requests with 200")
    answer: Mapping[str, Scalar] = option(
        dict, help="fields in the body of a 200, beside or instead of ours"
    )


class Hmac(Mapped):
    """See the module."""

    tolerance = timedelta(minutes=5)

    def __init__(self, source: HmacSource) -> None:
        self.schemes = tuple(signature.scheme for signature in source.signatures)
        super().__init__(source)
        if source.provider == "hmac":
            self.unsigned_hint = 'say how it does: signatures = [{ header = "X-..." }]'
        self.answer = source.answer
        self.refused_status = source.refused_status
        self.asks_options = source.asks_options
        self._signatures = source.signatures
        self._allow_sha1 = source.allow_sha1

    def problems(self) -> Iterable[_Trouble]:
        yield from super().problems()
        for i, signature in enumerate(self._signatures):
            place = f"signatures[{i}]"
            for field, message, hint in _unusable(signature):
                yield f"{place}.{field}", message, hint
            if signature.algorithm == "sha1" and not self._allow_sha1:
                hint = "use sha256 if the sender can, else set allow_sha1 = true"
                yield f"{place}.algorithm", "sha1 is weak", hint

    def warnings(self) -> Iterable[tuple[str, str]]:
        yield from super().warnings()
        for i, scheme in enumerate(self.schemes):
            if "body" not in scheme.covers:
                yield f"signatures[{i}].signed", "the body is not signed"


def _unusable(signature: Signature) -> Iterable[_Trouble]:
    """What of it can never fit a request."""
    scheme = signature.scheme
    for field in ("header", "id_header", "timestamp_header"):
        name = getattr(signature, field)
        if name and not _HEADER.fullmatch(name):
            yield field, "is not the name of a header", "write it like X-Signature"
    for found in _IN_BRACES.findall(scheme.signed):
        if found not in KNOWN and not _OF_HEADER.fullmatch(found):
            yield "signed", f"{found} is not known", f"known: {' '.join(KNOWN)}"
    for word in ("timestamp", "id"):
        if f"{{{word}}}" in scheme.signed and not getattr(scheme, f"{word}_header"):
            field = f"{word}_header"
            yield field, "is required", f"the header that holds what {{{word}}} is"
    shared = scheme.timestamp_header == scheme.header
    apart = scheme.prefix and scheme.separator and scheme.timestamp_prefix
    if shared and not apart:
        hint = "set prefix, separator and timestamp_prefix"
        yield "timestamp_header", "is the signature's own header", hint
