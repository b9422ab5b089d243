import threading
from contextlib import contextmanager

import pytest

from jpst.shared_context import SharedContext


@pytest.fixture
def seen():
    """What happened, and a context that several threads may share."""
    happened = []

    @contextmanager
    def context():
        happened.append("made")
        try:
            yield
        finally:
            happened.append("undone")

    return happened, SharedContext(context)


def test_settings_are_made_once_for_those_inside_at_once_and_undone_by_the_last(seen):
    happened, shared = seen
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def second():
        first_is_in.wait()
        with shared:
            second_is_in.set()
            first_is_out.wait()
            happened.append("second alone")

    thread = threading.Thread(target=second)
    thread.start()
    with shared:
        first_is_in.set()
        second_is_in.wait()
    first_is_out.set()
    thread.join()
    assert happened == ["made", "second alone", "undone"]


def test_it_can_be_entered_again(seen):
    happened, shared = seen
    for _ in range(2):
        with shared, shared:
            pass
    assert happened == ["made", "undone"] * 2


def test_an_error_inside_undoes_the_settings_and_goes_on(seen):
    happened, shared = seen
    with pytest.raises(ValueError, match="inside"), shared:
        raise ValueError("inside")
    assert happened == ["made", "undone"]
