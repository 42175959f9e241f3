"""Options: the keys of another project's option file, where they stand, and what is to be said of
them.

Every look-up by name checks the value. What a section holds beyond its own keys belongs to
training, or nobody reads it. One constraint: nothing here raises for a value. It becomes a
finding, and a harmless stand-in is returned, so that all findings of a file come at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

__all__ = ["Finding", "Interval", "Options", "Section", "Severity", "words"]

Severity: TypeAlias = Literal["note", "warning", "error"]
Interval: TypeAlias = tuple[float, float]


def words(text: str) -> frozenset[str]:
    """The words of a text, to list many keys."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Finding:
    """Something to know about an option file.

    Args:
        file: Its path.
        line: Counted from 1; 0 if the finding is about no one line.
        key: The key, or "" for the file as a whole.
        severity: ``note``, how it is read; ``warning``, something upstream or here is not what it
            seems; ``error``, no recipe can be made.
        message: What, and the remedy.
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
        name: As it is written, ``datasets.train``; "" for the top level.
        data: Its keys.
        lines: Where they stand.
        home: The keys that upstream reads here.
        training: Keys upstream reads here that have nothing to do with degradation.
    """

    name: str
    data: Mapping[str, Any]
    lines: Mapping[str, int]
    home: frozenset[str]
    training: frozenset[str] = frozenset()


@dataclass
class Options:
    """Reads values by key and collects findings.

    Args:
        file: The path, for findings.
        sections: In each, its own keys are looked for first.
        defaults: What upstream takes for a key that is left out; a key without a default is
            missed.
    """

    file: str
    sections: Sequence[Section]
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    findings: list[Finding] = field(default_factory=list[Finding])
    assumed: dict[str, Any] = field(default_factory=dict[str, Any])
    ignored: int = 0

    def line(self, key: str) -> int:
        """Where a key stands, 0 if it does not."""
        section = self._section(key)
        return section.lines.get(key, 0) if section else 0

    def say(self, severity: Severity, key: str, message: str) -> None:
        """Adds a finding about a key. Of one that is missing, only that is said, and once."""
        known = key in self or key in self.defaults or not key
        if not known and (
            severity != "error" or any(finding.key == key for finding in self.findings)
        ):
            return
        self.findings.append(Finding(self.file, self.line(key), key, severity, message))

    def __contains__(self, key: str) -> bool:
        return self._section(key) is not None

    def get(self, key: str) -> Any:
        """The value as written, or upstream's default, or None with an error."""
        section = self._section(key)
        if section is not None:
            return section.data[key]
        if key in self.defaults:
            self.assumed[key] = self.defaults[key]
            return self.defaults[key]
        self.say("error", key, "is missing; upstream stops with KeyError")
        return None

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A number in [low, high]."""
        value = self.get(key)
        number = self._as_number(key, value)
        if number is None or not low <= number <= high:
            if value is not None:
                self.say("error", key, f"{value!r} should be a number from {low:g} to {high:g}")
            return min(max(0.0, low), high)
        return number

    def chance(self, key: str) -> float:
        """A probability."""
        return self.number(key, 0, 1)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool | None):
            self.say("error", key, f"{value!r} should be true or false")
        return value is True

    def interval(self, key: str, upstream: str = "") -> Interval:
        """A range [low, high]; one that is not increasing is read the other way round.

        Args:
            key: The key.
            upstream: What upstream does with a range that is not increasing.
        """
        value = self.get(key)
        numbers = self._numbers(key, value)
        if len(numbers) != 2:
            if value is not None:
                self.say("error", key, f"{value!r} should be a range [low, high]")
            return 1.0, 1.0
        low, high = numbers
        if low > high:
            more = f"; {upstream}" if upstream else ""
            self.say(
                "warning",
                key,
                f"[{low:g}, {high:g}] is not increasing{more}; read as [{high:g}, {low:g}]",
            )
        return min(low, high), max(low, high)

    def weights(self, key: str, count: int) -> list[float]:
        """Probabilities, ``count`` of them; they are told, not refused, if they do not sum to
        1.
        """
        value = self.get(key)
        numbers = self._numbers(key, value)
        if len(numbers) != count or min(numbers, default=0) < 0 or sum(numbers) <= 0:
            if value is not None:
                self.say(
                    "error", key, f"{value!r} should be {count} probabilities, not all of them 0"
                )
            return [1 / count] * count
        total = math.fsum(numbers)
        if not math.isclose(total, 1, abs_tol=1e-6):
            self.say(
                "warning",
                key,
                f"probabilities sum to {total:g}, not 1; taken as weights, as upstream does",
            )
        return numbers

    def names(self, key: str, known: Sequence[str]) -> list[str]:
        """A list of names out of ``known``."""
        value = self.get(key)
        if not isinstance(value, list) or not value:
            if value is not None:
                self.say("error", key, f"{value!r} should be a list of names")
            return [*known]
        words = [str(word) for word in cast("list[Any]", value)]
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
                self.say("error", key, f"no such name as {word!r}{hint}")
        return [word if word in known else known[0] for word in words]

    def leftover(self) -> None:
        """Tells the keys that nobody reads, and counts those of training."""
        homes = {key: section for section in self.sections for key in section.home}
        for section in self.sections:
            for key in section.data:
                if key in section.home:
                    continue
                if key in section.training:
                    self.ignored += 1
                    continue
                where = homes.get(key)
                if where is not None:
                    place = f"[{where.name}]" if where.name else "the top level"
                    message = f"belongs to {place}; upstream does not read it here"
                else:
                    near = difflib.get_close_matches(str(key), [*homes], n=1, cutoff=0.75)
                    message = "unknown key, ignored" + (
                        f"; did you mean {near[0]}?" if near else ""
                    )
                line = section.lines.get(key, 0)
                self.findings.append(Finding(self.file, line, str(key), "warning", message))

    def _section(self, key: str) -> Section | None:
        at_home = [s for s in self.sections if key in s.home and key in s.data]
        return next(iter(at_home or [s for s in self.sections if key in s.data]), None)

    def _numbers(self, key: str, value: Any) -> list[float]:
        """The numbers of a list, or none of them."""
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
            # YAML 1.1, which PyYAML reads, wants a dot and a sign in 1.0e-4.
            self.say(
                "warning",
                key,
                f"{value!r} is text to YAML 1.1; write !!float {value}. Read as {number:g}",
            )
            return number if math.isfinite(number) else None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return None
        return value
