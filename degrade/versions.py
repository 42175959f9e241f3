"""Versions of packages, which are recorded with datasets, runs and weights."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from degrade import __version__

__all__ = ["package_versions"]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of distributions, by name.

    One without metadata, such as OpenCV under another name, is ``not installed``. That of
    ``degrade`` is its own, since a checkout that is only on the path has no metadata.

    >>> package_versions(["nothing-like-it"])
    {'nothing-like-it': 'not installed'}
    """
    return {name: __version__ if name == "degrade" else _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
