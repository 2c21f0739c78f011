"""The framing between our processes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import frames
from receiver.frames import Frame

values = st.none() | st.booleans() | st.integers() | st.text()


@given(st.dictionaries(st.text(), values), st.binary())
def test_a_frame_arrives_as_it_was_sent(head: dict[str, object], body: bytes):
    frame = Frame(head, body)

    stream = io.BytesIO(frames.pack(frame) + body)

    assert frames.read(stream) == frame
    assert frames.read(stream) is None


@pytest.mark.parametrize("cut", [1, 7, 9, 14, 17])
def test_a_frame_that_breaks_off_is_the_end(cut: int):
    whole = frames.pack(Frame({"a": 1}, b"body")) + b"body"

    assert frames.read(io.BytesIO(whole[:cut])) is None


def test_a_head_that_is_not_an_object_is_refused():
    with pytest.raises(ValueError, match="not an object"):
        frames.unpack(b"[]", b"")
