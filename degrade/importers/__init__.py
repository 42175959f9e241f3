"""Import option files of other projects as recipes.

:func:`read_options` gives a recipe's data and findings: keys that are read and never used
upstream, differences from upstream, unknown keys. Files are data: YAML's safe subset is read
(``!!float 1e-4`` is part of it, Python tags are not).

===========  ==================================================  ==================================
dialect      files                                               recognised by
===========  ==================================================  ==================================
``basicsr``  Real-ESRGAN, Real-ESRNet                            YAML, and none of the below
``redux``    traiNNer-redux                                      a key of its own: ``jpeg_prob``
``params``   ``params_realesrgan.yml`` of OSEDiff and relatives  ``kernel_info``
``neosr``    neosr                                               TOML
===========  ==================================================  ==================================
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from degrade.console import printable
from degrade.errors import Problem, RecipeError
from degrade.importers.basicsr import basicsr
from degrade.importers.neosr import neosr
from degrade.importers.options import Config, Finding, Options
from degrade.importers.osediff import osediff
from degrade.importers.redux import REDUX_ONLY, redux
from degrade.loading.builder import load
from degrade.loading.positions import compose, read_text
from degrade.storage.names import portable

__all__ = ["DIALECTS", "Finding", "Imported", "read_options"]

DIALECTS = ("basicsr", "redux", "params", "neosr")


@dataclass(frozen=True)
class Imported:
    """The result of importing an option file.

    Args:
        dialect: One of :data:`DIALECTS`.
        recipe: The recipe's data, for :meth:`degrade.Recipe.load`; None if a finding is an error.
        findings: By line.
        ignored: Number of keys of training that were ignored.
    """

    dialect: str
    recipe: Config | None
    findings: tuple[Finding, ...]
    ignored: int

    def to_yaml(self) -> str:
        """Return the recipe as YAML, with the warnings as comments on top.

        Raises:
            ValueError: There is no recipe, because a finding is an error.
        """
        if self.recipe is None:
            raise ValueError("no recipe: a finding is an error")
        from degrade import __version__

        # A line break in a key or a value would end the comment, and what follows be YAML.
        head = [f"# {printable(self.recipe['description'])}, by degrade {__version__}."]
        head += [
            f"# {printable(f'{finding.key}: {finding.message}')}"
            for finding in self.findings
            if finding.severity == "warning"
        ]
        body = yaml.dump(
            self.recipe,
            Dumper=_Dumper,
            sort_keys=False,
            width=120,
            default_flow_style=None,
            allow_unicode=True,
        )
        return "\n".join([*head, body])


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full, without YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_options(path: str | os.PathLike[str], dialect: str | None = None) -> Imported:
    """Read an option file of another project.

    Args:
        path: The file.
        dialect: One of :data:`DIALECTS`; recognised by the file if None.

    Raises:
        RecipeError: The file cannot be read as YAML or TOML, or is not an option file.
    """
    file = os.fspath(path)
    text = read_text(path, "utf-8-sig")
    if dialect not in (None, *DIALECTS):
        message = f"unknown dialect {dialect!r}; there are {', '.join(DIALECTS)}"
        raise RecipeError([Problem("", 0, "", message)])
    if dialect == "neosr" or (dialect is None and Path(path).suffix.lower() == ".toml"):
        return _assemble("neosr", Path(path), *neosr(text, file))
    document = compose(text, file)
    if not isinstance(document.data, dict):
        message = "has no keys; it should be an option file of a known project"
        raise RecipeError([Problem(file, 1, "", message)])
    kind = dialect or _recognise(cast("Config", document.data))
    reader = {"basicsr": basicsr, "redux": redux, "params": osediff}[kind]
    return _assemble(kind, Path(path), *reader(document, file))


def _recognise(data: Config) -> str:
    if "kernel_info" in data:
        return "params"
    datasets = data.get("datasets")
    train: Any = cast("Config", datasets).get("train") if isinstance(datasets, dict) else None
    keys = {*data, *(cast("Config", train) if isinstance(train, dict) else {})}
    return "redux" if keys & REDUX_ONLY else "basicsr"


def _assemble(dialect: str, path: Path, options: Options, stages: Config) -> Imported:
    """Assemble the recipe, report unread keys, and check that the recipe loads."""
    options.report_unread_keys()
    if options.assumed:
        values = ", ".join(f"{key} {value}" for key, value in options.assumed.items())
        options.report("note", "", f"left out, hence upstream's default: {values}")
    name = str(options.get("name")) if "name" in options else path.stem
    scale = options.number("scale", 1, 16)
    name = re.sub(r"[^A-Za-z0-9]+", "_", name)[:64].strip("_")
    recipe = {
        "name": name if name and portable(name) else f"imported_{name}".strip("_"),
        "scale": int(scale),
        "description": f"Imported from {printable(path.name)} ({dialect})",
        **{stage: steps for stage, steps in stages.items() if steps},
    }
    if not any(finding.severity == "error" for finding in options.findings):
        try:
            load(recipe)
        except RecipeError as error:
            for problem in error.problems:
                options.report("error", "", f"upstream accepts this, a recipe does not: {problem}")
    wrong = any(finding.severity == "error" for finding in options.findings)
    findings = sorted(options.findings, key=lambda finding: finding.line)
    return Imported(dialect, None if wrong else recipe, tuple(findings), options.ignored)
