"""A mailbox."""

import pytest

from tests.mail_server import Mailbox


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()
