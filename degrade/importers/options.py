"""Read another project's option file by key, and collect findings about its values.

Every look-up checks the value. A wrong value does not raise: it becomes a finding, and a valid
default is returned, so that all findings of a file are reported at once. Keys that are neither
read nor known as keys of training are reported too.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from degrade.loading.positions import Document

__all__ = [
    "Config",
    "Finding",
    "Interval",
    "Options",
    "Section",
    "Severity",
    "split_keys",
    "yaml_section",
]

Severity: TypeAlias = Literal["note", "warning", "error"]
Interval: TypeAlias = tuple[float, float]
Config: TypeAlias = dict[str, Any]
"""A mapping of YAML, TOML or a recipe."""


def split_keys(text: str) -> frozenset[str]:
    """Return the keys that a text lists, separated by white space.

    >>> sorted(split_keys("name scale"))
    ['name', 'scale']
    """
    return frozenset(text.split())


def _shown(value: Any) -> str:
    """Return a value as Python writes it, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a number of too many digits
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:197]}..."


@dataclass(frozen=True)
class Finding:
    """A remark about an option file.

    Args:
        file: Its path.
        line: Counted from 1; 0 if the finding is not about one line.
        key: The key, or "" for the whole file.
        severity: ``note``, how it is read; ``warning``, the result may differ from what the file
            suggests; ``error``, no recipe can be made.
        message: The problem and the remedy.

    >>> print(Finding("a.yml", 3, "scale", "note", "taken as 4"))
    a.yml:3: scale: taken as 4
    """

    file: str
    line: int
    key: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


@dataclass(frozen=True)
class Section:
    """A table of the file.

    Args:
        name: As written, ``datasets.train``; "" for the top level.
        data: Its keys and values.
        lines: The line of each key.
        known: The keys of the degradation that upstream reads here.
        training: The other keys that upstream reads here.
    """

    name: str
    data: Mapping[str, Any]
    lines: Mapping[str, int]
    known: frozenset[str]
    training: frozenset[str] = frozenset()


def yaml_section(
    document: Document, path: tuple[str, ...], known: frozenset[str], training: frozenset[str]
) -> Section:
    """Return the table of a YAML file at a path of keys, empty if it has none."""
    data: Any = document.data
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    found: Config = data if isinstance(data, dict) else {}
    lines = {key: document.position((*path, key))[1] for key in found}
    return Section(".".join(path), found, lines, known, training)


@dataclass
class Options:
    """Reads values by key and collects findings.

    Args:
        file: The path, for findings.
        sections: A key is looked up first in the section that it belongs to.
        defaults: Upstream's value of a key that is left out; other keys are required.
    """

    file: str
    sections: Sequence[Section]
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    findings: list[Finding] = field(default_factory=list[Finding])
    assumed: dict[str, Any] = field(default_factory=dict[str, Any])
    ignored: int = 0

    def line(self, key: str) -> int:
        """Return the line of a key, 0 if it is not in the file."""
        section = self._section(key)
        return section.lines.get(key, 0) if section else 0

    def report(self, severity: Severity, key: str, message: str) -> None:
        """Add a finding about a key. For a missing key, only the first error is added."""
        known = key in self or key in self.defaults or not key
        if not known and (
            severity != "error" or any(finding.key == key for finding in self.findings)
        ):
            return
        self.findings.append(Finding(self.file, self.line(key), key, severity, message))

    def __contains__(self, key: str) -> bool:
        return self._section(key) is not None

    def get(self, key: str) -> Any:
        """Return the value as written, or upstream's default, or None with an error."""
        section = self._section(key)
        if section is not None:
            return section.data[key]
        if key in self.defaults:
            self.assumed[key] = self.defaults[key]
            return self.defaults[key]
        self.report("error", key, "is missing; upstream stops with KeyError")
        return None

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a number in [low, high]."""
        value = self.get(key)
        number = self._as_number(key, value)
        if number is None or not low <= number <= high:
            if value is not None:
                self.report(
                    "error", key, f"{_shown(value)} should be a number from {low:g} to {high:g}"
                )
            return min(max(0.0, low), high)
        return number

    def probability(self, key: str) -> float:
        """Return a probability."""
        return self.number(key, 0, 1)

    def flag(self, key: str) -> bool:
        """Return a boolean."""
        value = self.get(key)
        if not isinstance(value, bool | None):
            self.report("error", key, f"{_shown(value)} should be true or false")
        return value is True

    def interval(self, key: str, upstream: str = "") -> Interval:
        """Return a range [low, high]; the ends of a decreasing one are swapped.

        Args:
            key: The key.
            upstream: What upstream does with a range that is not increasing.
        """
        value = self.get(key)
        numbers = self._numbers(key, value)
        if len(numbers) != 2:
            if value is not None:
                self.report("error", key, f"{_shown(value)} should be a range [low, high]")
            return 1.0, 1.0
        low, high = numbers
        if low > high:
            more = f"; {upstream}" if upstream else ""
            self.report(
                "warning",
                key,
                f"[{low:g}, {high:g}] is not increasing{more}; read as [{high:g}, {low:g}]",
            )
        return min(low, high), max(low, high)

    def weights(self, key: str, count: int) -> list[float]:
        """Return ``count`` probabilities; a warning if they do not sum to 1."""
        value = self.get(key)
        numbers = self._numbers(key, value)
        inside = all(0 <= number <= 1e9 for number in numbers)
        if len(numbers) != count or not inside or sum(numbers) <= 0:
            if value is not None:
                self.report(
                    "error",
                    key,
                    f"{_shown(value)} should be {count} probabilities, not all of them 0",
                )
            return [1 / count] * count
        total = math.fsum(numbers)
        if not math.isclose(total, 1, abs_tol=1e-6):
            self.report(
                "warning",
                key,
                f"probabilities sum to {total:g}, not 1; taken as weights, as upstream does",
            )
        return numbers

    def names(self, key: str, known: Sequence[str]) -> list[str]:
        """Return a list of names out of ``known``."""
        value = self.get(key)
        if not isinstance(value, list) or not value:
            if value is not None:
                self.report("error", key, f"{_shown(value)} should be a list of names")
            return [*known]
        words = [str(word) for word in cast("list[Any]", value)]
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
                self.report("error", key, f"unknown name {word!r}{hint}")
        return [word if word in known else known[0] for word in words]

    def report_unread_keys(self) -> None:
        """Report the keys that are not read, and count those of training."""
        sections = {key: section for section in self.sections for key in section.known}
        for section in self.sections:
            for key in section.data:
                if key in section.known:
                    continue
                if key in section.training:
                    self.ignored += 1
                    continue
                where = sections.get(key)
                if where is not None:
                    place = f"[{where.name}]" if where.name else "the top level"
                    message = f"belongs to {place}; upstream does not read it here"
                else:
                    near = difflib.get_close_matches(str(key), [*sections], n=1, cutoff=0.75)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    message = f"unknown key, ignored{hint}"
                line = section.lines.get(key, 0)
                self.findings.append(Finding(self.file, line, str(key), "warning", message))

    def _section(self, key: str) -> Section | None:
        own = [s for s in self.sections if key in s.known and key in s.data]
        return next(iter(own or [s for s in self.sections if key in s.data]), None)

    def _numbers(self, key: str, value: Any) -> list[float]:
        """Return the numbers of a list, or [] if any is not a number."""
        if not isinstance(value, list | tuple):
            return []
        numbers = [self._as_number(key, item) for item in cast("list[Any]", value)]
        return [n for n in numbers if n is not None] if None not in numbers else []

    def _as_number(self, key: str, value: Any) -> float | None:
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                return None
            # In YAML 1.1, which PyYAML reads, an exponent needs a dot and a sign: 1.0e-4.
            self.report(
                "warning",
                key,
                f"{value!r} is text to YAML 1.1; write !!float {value}. Read as {number:g}",
            )
            return number if math.isfinite(number) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if abs(value) <= sys.float_info.max else None
