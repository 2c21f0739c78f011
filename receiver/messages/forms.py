"""What users' templates can make; light, for those who only name it."""

from enum import StrEnum

from receiver.errors import ReceiverError


class Form(StrEnum):
    """What a template's output is, and so what its values must not be able to do."""

    TEXT = "text"
    HTML = "html"
    MRKDWN = "mrkdwn"
    BLOCKS = "blocks"


class TemplateFailed(ReceiverError):
    """A template gave nothing that can be sent for an event; the text says why."""
