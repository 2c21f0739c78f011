"""Reading webhooks that were made of an API's answer, as if they had come."""

from datetime import datetime

from receiver.models import Reading, Request
from receiver.providers.base import Provider
from receiver.providers.body import check_names, parse
from receiver.providers.status.base import Made


def request_of(webhook: Made, now: datetime) -> Request:
    """The request it would have been."""
    return Request(webhook.headers, {}, webhook.body, now)


def read_made(provider: Provider, webhook: Made, now: datetime) -> Reading:
    """
    What it means.

    Raises:
        Rejected: the provider would not take it, as it would not if it had come.
    """
    reading = provider.read(request_of(webhook, now), parse(webhook.body))
    check_names(reading)
    return reading
