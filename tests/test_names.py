"""File names as text: any name comes back from what is written, and what is written is text."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.storage.names import escape, shorten, unescape

NAMES = st.one_of(st.binary(), st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))


@given(NAMES)
def test_names_come_back(raw: bytes) -> None:
    name = os.fsdecode(raw)
    text = escape(name)
    assert unescape(text) == name
    assert escape(unescape(text)) == text
    text.encode()
    assert len(text.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)


@given(NAMES, NAMES)
def test_different_names_stay_different(a: bytes, b: bytes) -> None:
    assert (escape(os.fsdecode(a)) == escape(os.fsdecode(b))) == (a == b)


@pytest.mark.parametrize("name", ["a.png", "50% grey", "日本語/é.jpg", "a b", "%zz", "%e9", "[x]"])
def test_plain_names_are_left_alone(name: str) -> None:
    assert escape(name) == unescape(name) == name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.integers(9, 300))
def test_short_names(name: str, most: int) -> None:
    short = shorten(name, most)
    assert len(short.encode()) <= most
    assert (short == name) == (len(name.encode()) <= most)
    assert shorten(short, most) == short
