"""Two recipes side by side: what they say, parameter by parameter, and what they do to the same
images.

Parameters are aligned by address. Effects are paired: image ``i`` has the same key under both
recipes, so that variables of the same address draw at the same quantile, and a difference is the
recipes', not the luck of the draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from degrade.control import OneOf, Repeat, Shuffle
from degrade.images.pixels import as_pixels
from degrade.inspection import metrics
from degrade.nodes import Maybe, Node, Step
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["MEASURES", "Change", "Effect", "changes", "effects", "parameters", "print_diff"]

Real = NDArray[np.float64]
Kind = Literal["only a", "only b", "different", "same"]

MEASURES = {
    "psnr": ("PSNR to plain, dB", 1.0),
    "noise": ("noise, grey levels", 1.0),
    "high": ("fine detail, %", 100.0),
    "blocks": ("blockiness, 1 = none", 1.0),
}
"""Name -> heading with the unit, factor to that unit. Fine detail is the energy above half the
Nyquist frequency.
"""


# --- what they say -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """What one address of a recipe says; ``default`` if the file need not say it."""

    text: str
    default: bool = False


@dataclass(frozen=True)
class Change:
    """One address in two recipes."""

    address: str
    kind: Kind
    a: str = ""
    b: str = ""


def parameters(recipe: Recipe) -> dict[str, Parameter]:
    """Everything a recipe says, by address: the steps of a stage, a step's operator, its fields,
    its probability.

    Branches of a ``one_of`` may share an address; their texts are joined by " | ".
    """
    found: dict[str, Parameter] = {}
    for stage in (recipe.hr, *recipe.stages):
        if stage.nodes:
            found[stage.label] = Parameter(", ".join(node.label for node in stage.nodes))
        for node in stage.nodes:
            for address, one in _of(node, stage.label):
                before = found.get(address)
                if before is None:
                    found[address] = one
                elif one.text not in before.text.split(" | "):
                    found[address] = Parameter(
                        f"{before.text} | {one.text}", before.default and one.default
                    )
    return found


def changes(a: Recipe, b: Recipe) -> list[Change]:
    """Every address of either recipe, in the order of ``a`` and then ``b``. Defaults of a step
    that only one recipe has are left out."""
    one, other = parameters(a), parameters(b)
    found: list[Change] = []
    for address in {**one, **other}:
        p, q = one.get(address), other.get(address)
        if p is not None and q is not None:
            found.append(
                Change(address, "same" if p.text == q.text else "different", p.text, q.text)
            )
        elif p is not None and not p.default:
            found.append(Change(address, "only a", a=p.text))
        elif q is not None and not q.default:
            found.append(Change(address, "only b", b=q.text))
    return found


def _of(node: Node, scope: str) -> Iterator[tuple[str, Parameter]]:
    here = f"{scope}.{node.label}"
    if isinstance(node, Maybe):
        yield f"{here}.p", Parameter(_text(node.p))
        yield from _of(node.node, scope)
    elif isinstance(node, Step):
        if node.label != node.kind:
            yield here, Parameter(node.kind)
        said = node.operator.model_dump(exclude_defaults=True)
        for name, value in node.operator.model_dump().items():
            yield f"{here}.{name}", Parameter(_text(value), name not in said)
    elif isinstance(node, OneOf):
        weights = {branch.label: 0.0 for branch in node.branches}
        for branch, weight in zip(node.branches, node.weights, strict=True):
            weights[branch.label] += weight
        yield (
            here,
            Parameter(
                "one of " + ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items())
            ),
        )
        for branch in node.branches:
            yield from _of(branch, scope)
    elif isinstance(node, Shuffle):
        kept = f", {' before '.join(node.ordered)}" if node.ordered else ""
        yield (
            here,
            Parameter("in any order: " + ", ".join(inner.label for inner in node.nodes) + kept),
        )
        for inner in node.nodes:
            yield from _of(inner, scope)
    elif isinstance(node, Repeat):
        yield f"{here}.times", Parameter(_text(node.times.dump()))
        for inner in node.steps.nodes if node.most else ():
            yield from _of(inner, f"{here}[]")
    else:
        for inner in node.children:
            yield from _of(inner, scope)


def _text(value: Any) -> str:
    """YAML on one line, numbers to 6 digits."""
    text = yaml.safe_dump(
        _rounded(value), default_flow_style=True, width=10**6, allow_unicode=True
    )
    return text.strip().removesuffix("...").strip()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


# --- what they do --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Effect:
    """One measure of the LR images of two recipes, sample by sample: (N,) each."""

    name: str
    a: Real
    b: Real


def effects(
    a: Recipe, b: Recipe, files: Sequence[Path], draws: int = 64, size: int = 256, seed: int = 0
) -> list[Effect]:
    """Measures the LR images that both recipes make of the same crops with the same keys.

    Args:
        a: A recipe.
        b: Another.
        files: Images, taken in turn.
        draws: Samples in all.
        size: Side of the HR crops from the images' middles.
        seed: With the sample's number, its key.

    Raises:
        ImageError: an image cannot be read.
    """
    crops = list(metrics.middles(files, size))
    values = np.empty((2, len(MEASURES), draws))
    for j, recipe in enumerate((a, b)):
        for k, hr in enumerate(crops):
            index = np.arange(k, draws, len(crops))
            if not len(index):
                continue
            batch = hr.expand(len(index), -1, -1, -1)
            lr = as_pixels(recipe.apply(batch, recipe.plan(Key.of(seed, index))).lr)
            [reference] = metrics.plain(recipe.crop(hr).float() / 255, recipe.scale)
            for i, image in zip(index, lr, strict=True):
                values[j, :, i] = [
                    factor * _measure(name, image, reference)
                    for name, (_, factor) in MEASURES.items()
                ]
    return [Effect(name, *values[:, i]) for i, name in enumerate(MEASURES)]


def _measure(name: str, image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    if name == "psnr":
        return metrics.psnr(image, reference)
    return {
        "noise": metrics.noise_level,
        "high": metrics.high_frequency,
        "blocks": metrics.blockiness,
    }[name](image)


# --- tables --------------------------------------------------------------------------------------


def print_diff(
    console: Console,
    a: Recipe,
    b: Recipe,
    found: Sequence[Change],
    measured: Sequence[Effect],
    every: bool,
) -> None:
    """Prints both tables. Equal parameters are counted, or with ``every`` listed."""
    one, other = (a.name, b.name) if a.name != b.name else (f"{a.name} (A)", f"{b.name} (B)")
    same = sum(change.kind == "same" for change in found)
    shown = [change for change in found if every or change.kind != "same"]
    if shown:
        console.print(_parameter_table(one, other, shown))
    told = "" if every or not same else " (--all lists them)"
    differ = len(found) - same
    words = f"{differ} parameter{'s differ' if differ != 1 else ' differs'}, {same} {'are' if same != 1 else 'is'} the same"
    console.print(f"{words}{told}.\n", soft_wrap=True)
    if a.scale != b.scale:
        words = f"The scales differ ({a.scale} and {b.scale}): each LR against its own plain downscale."
        console.print(words + "\n", soft_wrap=True)
    console.print(_effect_table(one, other, measured))


def _parameter_table(one: str, other: str, shown: Sequence[Change]) -> Table:
    table = Table(
        title="Parameters", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.add_column("address", no_wrap=True)
    for name in (one, other):
        table.add_column(Text(name), overflow="fold")
    style = {"only a": "yellow", "only b": "cyan", "different": "", "same": "dim"}
    for change in shown:
        cells = (change.address, change.a or "-", change.b or "-")
        table.add_row(*(Text(cell) for cell in cells), style=style[change.kind])
    return table


def _effect_table(one: str, other: str, measured: Sequence[Effect]) -> Table:
    count = len(measured[0].a)
    title = f"Effects on {count} LR images: median, 5 to 95 %. Differences are between the same image and key."
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in (one, other, f"{other} - {one}"):
        table.add_column(Text(name), justify="right", overflow="fold")
    for effect in measured:
        heading, _ = MEASURES[effect.name]
        table.add_row(
            heading, _spread(effect.a), _spread(effect.b), _spread(effect.b - effect.a, "+")
        )
    return table


def _spread(values: Real, sign: str = "") -> str:
    middle, low, high = np.percentile(values, [50, 5, 95])
    return f"{middle:{sign}.2f}\n[dim]{low:{sign}.2f} to {high:{sign}.2f}[/dim]"
