"""
Receives webhooks, keeps them, and delivers them to where they are needed.

What is here is for code of yours that `receiver` calls: a handler is given an `Event`,
and raises `Permanent` when trying again can never help.
"""

from receiver.errors import Permanent
from receiver.models import Event

__all__ = ["Event", "Permanent", "__version__"]

__version__ = "0.1.0"
