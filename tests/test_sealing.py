"""Sealing by itself: which keys are taken."""

import pytest

from bridge.sealing import kid, read_key, written

KEY = "yWhDiBhHQZwaVeMMWLE_RSWRgHdfAxQWbDSBbotWOSc"


def test_a_key_is_read_as_it_was_written() -> None:
    assert written(read_key(KEY)) == KEY
    assert kid(KEY) == "26d4f6514177f895"


@pytest.mark.parametrize("text", ["", "A" * 43, KEY[:-1], KEY + "A", KEY[:-1] + "d", "é" * 43, KEY[:-2]])
def test_what_is_no_key_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="no X25519 public key"):
        read_key(text)
