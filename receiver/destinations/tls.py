"""Whom a TLS connection trusts, which certificate it shows, and why one failed."""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PEM = "a file in PEM form"

_SAID = {
    "CERTIFICATE_REQUIRED": "the other side wants a certificate: set `client_cert`",
    "HANDSHAKE_FAILURE": (
        "the other side refused the handshake, as it does when it wants a certificate"
    ),
    "BAD_CERTIFICATE": "the other side did not like the certificate in `client_cert`",
    "UNKNOWN_CA": "the other side does not know who issued `client_cert`",
    "CERTIFICATE_EXPIRED": "the certificate in `client_cert` has expired",
    "CERTIFICATE_REVOKED": "the certificate in `client_cert` was revoked",
    "CERTIFICATE_UNKNOWN": "the other side did not accept `client_cert`",
    "ACCESS_DENIED": "the other side does not let `client_cert` in",
}
"""What the other side's alerts mean (RFC 8446, 6.2); OpenSSL puts a prefix before each."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form; where `client_cert` holds its key too, there is no other."""

    client_cert: Path | None = None
    client_key: Path | None = None
    ca_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """
        What connections are made with.  Reads the files.

        Raises:
            OSError: one of them cannot be used.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.client_cert:
            context.load_cert_chain(self.client_cert, self.client_key, _no_password)
        return context

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong with the files: (field, message, hint) each."""
        files = {
            "client_cert": self.client_cert,
            "client_key": self.client_key,
            "ca_file": self.ca_file,
        }
        unreadable = [name for name, file in files.items() if not _is_readable(file)]
        for name in unreadable:
            yield name, "cannot be read", _PEM
        if self.client_key and not self.client_cert:
            yield "client_key", "is of no use without a client_cert", ""
        if not unreadable:
            yield from self._misfits()

    def _misfits(self) -> Iterator[tuple[str, str, str]]:
        try:
            Tls(ca_file=self.ca_file).context()
        except OSError:
            yield "ca_file", "holds no certificates", _PEM
        try:
            Tls(self.client_cert, self.client_key).context()
        except OSError as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                yield "client_key", "is not the key of client_cert", ""
            elif self.client_key:
                hint = "both in PEM form, the key without a password"
                yield "client_cert", "cannot be used with client_key", hint
            else:
                hint = "set client_key, or put the key into the same file"
                yield "client_cert", "cannot be used alone", hint


class Alerts:
    """
    The last alert that connections of a context were sent.

    With TLS 1.3 a certificate is missed only after our side has finished; a request
    that is being written then fails with no more than "connection closed".
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._last: ssl.SSLError | None = None
        context.sslobject_class = self._listening()

    def take(self) -> ssl.SSLError | None:
        """The last one, once."""
        last, self._last = self._last, None
        return last

    def _listening(self) -> type[ssl.SSLObject]:
        alerts = self

        class Listening(ssl.SSLObject):
            def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 (its name there)
                try:
                    return super().read(len, buffer)
                except ssl.SSLError as error:
                    if "ALERT" in (error.reason or ""):
                        alerts._last = error
                    raise

        return Listening


def described(error: BaseException) -> str:
    """Why there is no TLS connection, as far as the error says."""
    for cause in _causes(error):  # aiohttp's own errors lack what those within have
        if untrusted := getattr(cause, "verify_message", ""):
            return f"its certificate is not trusted: {untrusted}"
        if reason := getattr(cause, "reason", ""):
            found = (text for word, text in _SAID.items() if reason.endswith(word))
            return next(found, reason.lower().replace("_", " "))
    return "no reason given"


def is_tls(error: BaseException) -> bool:
    """Whether TLS is behind an error."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or getattr(error, "os_error", None)


def _is_readable(file: Path | None) -> bool:
    return file is None or (file.is_file() and os.access(file, os.R_OK))


def _no_password() -> str:
    """Instead of asking on the terminal."""
    return ""
