"""A sender with every particularity that the web edge minds, for tests."""

from receiver.providers.sora2 import Sora2


class Particular(Sora2):
    """Signs as Sora2 does; looks at an address first, and takes a 4xx for the end."""

    asks_options = True
    refused_status = 503
