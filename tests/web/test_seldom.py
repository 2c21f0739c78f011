"""What anybody can make happen as often as they like does not fill the log."""

from receiver.web.seldom import Seldom


def test_what_happens_often_is_told_at_once_and_then_with_a_count():
    seldom = Seldom(60)

    told = [seldom.happened(now) for now in (5, 6, 64.9, 65, 66, 125)]

    assert told == [1, 0, 0, 3, 0, 2]
