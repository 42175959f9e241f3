"""Dialects: option files of other projects, read as recipes.

:func:`read_options` gives a recipe's data and findings: what is read and never used upstream, what
differs here, keys that nobody reads. One constraint: files are data. YAML's safe subset is read
(``!!float 1e-4`` is in it, Python tags are not).

=============  =====================================================  ========================================
dialect        files                                                  known by
=============  =====================================================  ========================================
``basicsr``    Real-ESRGAN, Real-ESRNet                               YAML, and none of the below
``redux``      traiNNer-redux                                         a key of its own, such as ``jpeg_prob``
``params``     ``params_realesrgan.yml`` of OSEDiff and relatives     ``kernel_info``
``neosr``      neosr                                                  TOML
=============  =====================================================  ========================================
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from degrade.errors import Problem, RecipeError
from degrade.importers import basicsr, neosr, osediff
from degrade.importers.options import Finding, Options
from degrade.loading.builder import load
from degrade.loading.positions import compose

__all__ = ["DIALECTS", "Finding", "Imported", "read_options"]

Data = dict[str, Any]

DIALECTS = ("basicsr", "redux", "params", "neosr")


@dataclass(frozen=True)
class Imported:
    """What an option file becomes.

    Args:
        dialect: One of :data:`DIALECTS`.
        recipe: The recipe's data, for :meth:`degrade.Recipe.load`; None if a finding is an error.
        findings: By line.
        ignored: How many keys of training were passed over.
    """

    dialect: str
    recipe: Data | None
    findings: tuple[Finding, ...]
    ignored: int

    def to_yaml(self) -> str:
        """The recipe as a file, its warnings as comments on top."""
        if self.recipe is None:
            raise ValueError("there are errors, and so no recipe")
        from degrade import __version__

        head = [f"# {self.recipe['description']}, by degrade {__version__}."]
        head += [
            f"# {finding.key}: {finding.message}"
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
    """Writes parts out where they occur again."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_options(path: str | os.PathLike[str], dialect: str | None = None) -> Imported:
    """Reads an option file of another project.

    Args:
        path: The file.
        dialect: One of :data:`DIALECTS`; found out if left out.

    Raises:
        RecipeError: the file cannot be read as YAML or TOML, or is none of the dialects.
    """
    file = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(file, 0, "", f"cannot be read: {error}")]) from None
    if dialect not in (None, *DIALECTS):
        raise RecipeError(
            [
                Problem(
                    "", 0, "", f"no such dialect as {dialect!r}; there are {', '.join(DIALECTS)}"
                )
            ]
        )
    if dialect == "neosr" or (dialect is None and Path(path).suffix.lower() == ".toml"):
        return _finished("neosr", Path(path), *neosr.neosr(text, file))
    document = compose(text, file)
    if not isinstance(document.data, dict):
        raise RecipeError(
            [Problem(file, 1, "", "holds no keys; it should be an option file of a known project")]
        )
    kind = dialect or _kind(cast("Data", document.data))
    reader = {"basicsr": basicsr.basicsr, "redux": basicsr.redux, "params": osediff.params}[kind]
    return _finished(kind, Path(path), *reader(document, file))


def _kind(data: Data) -> str:
    if "kernel_info" in data:
        return "params"
    datasets = data.get("datasets")
    train: Any = cast("Data", datasets).get("train") if isinstance(datasets, dict) else None
    keys = {*data, *(cast("Data", train) if isinstance(train, dict) else {})}
    return "redux" if keys & basicsr.REDUX_ONLY else "basicsr"


def _finished(dialect: str, path: Path, options: Options, stages: Data) -> Imported:
    """Name and scale; left-over keys; and whether the recipe is one."""
    options.leftover()
    if options.assumed:
        said = ", ".join(f"{key} {value}" for key, value in options.assumed.items())
        options.say("note", "", f"left out, hence upstream's default: {said}")
    name = str(options.get("name")) if "name" in options else path.stem
    scale = options.number("scale", 1, 16)
    recipe = {
        "name": re.sub(r"\W+", "_", name).strip("_") or "imported",
        "scale": int(scale),
        "description": f"Imported from {path.name} ({dialect})",
        **{stage: steps for stage, steps in stages.items() if steps},
    }
    if not any(finding.severity == "error" for finding in options.findings):
        try:
            load(recipe)
        except RecipeError as error:
            for problem in error.problems:
                options.say("error", "", f"what upstream takes cannot be a recipe: {problem}")
    wrong = any(finding.severity == "error" for finding in options.findings)
    findings = sorted(options.findings, key=lambda finding: finding.line)
    return Imported(dialect, None if wrong else recipe, tuple(findings), options.ignored)
