"""Compare two recipes: their parameters by address, and their effects on the same images.

Effects are paired: image ``i`` has the same key under both recipes, so that variables of the same
address draw the same quantile, and a difference comes from the recipes, not from sampling.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from degrade.console import Console
from degrade.control import OneOf, Repeat, Shuffle
from degrade.images.pixels import Uint8, as_pixels
from degrade.inspection import metrics
from degrade.nodes import Maybe, Node, Step
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["MEASURES", "Change", "Effect", "changes", "effects", "parameters", "print_diff"]

Real = NDArray[np.float64]
Kind = Literal["only a", "only b", "different", "same"]

MEASURES = {
    "psnr": ("PSNR to bicubic, dB", 1.0),
    "noise": ("noise, grey levels", 1.0),
    "high": ("fine detail, %", 100.0),
    "blocks": ("blockiness, 1 = none", 1.0),
}
"""Name -> heading with the unit, factor to that unit. Fine detail is the energy above half the
Nyquist frequency.
"""


# --- parameters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """The value at one address of a recipe, as YAML; ``default`` if a file may leave it out."""

    text: str
    default: bool = False


@dataclass(frozen=True)
class Change:
    """The values at one address in two recipes."""

    address: str
    kind: Kind
    a: str = ""
    b: str = ""


def parameters(recipe: Recipe) -> dict[str, Parameter]:
    """Return all parameters of a recipe by address: the steps of a stage, a step's operator, its
    fields, its probability.

    Branches of a ``one_of`` may share an address; their values are joined by " | ".
    """
    found: dict[str, Parameter] = {}
    for stage in (recipe.hr, *recipe.stages):
        if stage.nodes:
            found[stage.label] = Parameter(", ".join(node.label for node in stage.nodes))
        for node in stage.nodes:
            for address, one in _parameters(node, stage.label):
                before = found.get(address)
                if before is None:
                    found[address] = one
                elif one.text not in before.text.split(" | "):
                    found[address] = Parameter(
                        f"{before.text} | {one.text}", before.default and one.default
                    )
    return found


def changes(a: Recipe, b: Recipe) -> list[Change]:
    """Return the changes at every address of either recipe, in the order of ``a`` and then ``b``.

    Defaults of a step that only one recipe has are left out.
    """
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


def _parameters(node: Node, scope: str) -> Iterator[tuple[str, Parameter]]:
    here = f"{scope}.{node.label}"
    if isinstance(node, Maybe):
        yield f"{here}.p", Parameter(_yaml(node.p))
        yield from _parameters(node.node, scope)
    elif isinstance(node, Step):
        if node.label != node.kind:
            yield here, Parameter(node.kind)
        explicit = node.operator.model_dump(exclude_defaults=True)
        for name, value in node.operator.model_dump().items():
            yield f"{here}.{name}", Parameter(_yaml(value), name not in explicit)
    elif isinstance(node, OneOf):
        weights = {branch.label: 0.0 for branch in node.branches}
        for branch, weight in zip(node.branches, node.weights, strict=True):
            weights[branch.label] += weight
        shares = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items())
        yield here, Parameter(f"one of {shares}")
        for branch in node.branches:
            yield from _parameters(branch, scope)
    elif isinstance(node, Shuffle):
        labels = ", ".join(inner.label for inner in node.nodes)
        ordered = f", {' before '.join(node.ordered)}" if node.ordered else ""
        yield here, Parameter(f"in any order: {labels}{ordered}")
        for inner in node.nodes:
            yield from _parameters(inner, scope)
    elif isinstance(node, Repeat):
        yield f"{here}.times", Parameter(_yaml(node.times.dump()))
        for inner in node.steps.nodes if node.most else ():
            yield from _parameters(inner, f"{here}[]")
    else:
        for inner in node.children:
            yield from _parameters(inner, scope)


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line, numbers to 6 digits."""
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


# --- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Effect:
    """One metric of the LR images of two recipes, sample by sample: (N,) each."""

    name: str
    a: Real
    b: Real


def effects(
    a: Recipe, b: Recipe, files: Sequence[Path], draws: int = 64, size: int = 256, seed: int = 0
) -> list[Effect]:
    """Measure the LR images that both recipes make of the same crops with the same keys.

    Args:
        a: A recipe.
        b: Another.
        files: Images, taken in turn.
        draws: Total number of samples.
        size: Side of the HR centre crops.
        seed: With the sample's index, its key.

    Raises:
        ImageError: An image cannot be read.
    """
    crops = list(metrics.center_crops(files, size))
    values = np.empty((2, len(MEASURES), draws))
    for j, recipe in enumerate((a, b)):
        for k, hr in enumerate(crops):
            [reference] = metrics.bicubic_downscale(recipe.crop(hr).float() / 255, recipe.scale)
            for index in metrics.batches(np.arange(k, draws, len(crops)), size):
                batch = hr.expand(len(index), -1, -1, -1)
                plan = recipe.plan(Key.of(seed, index))
                # The same drawn values, other pixels of noise.
                again = Plan(plan.columns, plan.values, Key.of(seed, index, epoch=1))
                lr, other = (as_pixels(recipe.apply(batch, one).lr) for one in (plan, again))
                for i, image, twin in zip(index, lr, other, strict=True):
                    values[j, :, i] = _measures(image, twin, reference)
    return [Effect(name, *values[:, i]) for i, name in enumerate(MEASURES)]


def _measures(image: Uint8, twin: Uint8, reference: Uint8) -> list[float]:
    """The metrics of ``MEASURES``, in its order and units; ``twin`` has other noise."""
    values = {
        "psnr": metrics.psnr(image, reference),
        "noise": metrics.noise_level(image, twin),
        "high": metrics.high_frequency_energy(image),
        "blocks": metrics.block_edge_ratio(image),
    }
    return [factor * values[name] for name, (_, factor) in MEASURES.items()]


# --- tables --------------------------------------------------------------------------------------


def print_diff(
    console: Console,
    a: Recipe,
    b: Recipe,
    found: Sequence[Change],
    measured: Sequence[Effect],
    every: bool,
) -> None:
    """Print both tables. Equal parameters are counted, or listed if ``every`` is set."""
    one, other = (a.name, b.name) if a.name != b.name else (f"{a.name} (A)", f"{b.name} (B)")
    same = sum(change.kind == "same" for change in found)
    shown = [change for change in found if every or change.kind != "same"]
    if shown:
        console.print(_parameter_table(one, other, shown))
    differ = len(found) - same
    summary = f"{differ} parameter{'s differ' if differ != 1 else ' differs'}"
    summary += f", {same} {'are' if same != 1 else 'is'} the same"
    hint = "" if every or not same else " (--all lists them)"
    console.print(f"{summary}{hint}.\n", soft_wrap=True)
    if a.scale != b.scale:
        scales = f"{a.scale} and {b.scale}"
        reference = "each LR is compared with its own bicubic downscale"
        console.print(f"The scales differ ({scales}): {reference}.\n", soft_wrap=True)
    console.print(_effect_table(one, other, measured))


def _parameter_table(one: str, other: str, shown: Sequence[Change]) -> Table:
    table = Table(
        title="Parameters", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.add_column("address", no_wrap=True)
    for name in (one, other):
        table.add_column(name, overflow="fold")
    style = {"only a": "yellow", "only b": "cyan", "different": "", "same": "dim"}
    for change in shown:
        cells = (change.address, change.a or "-", change.b or "-")
        table.add_row(*cells, style=style[change.kind])
    return table


def _effect_table(one: str, other: str, measured: Sequence[Effect]) -> Table:
    count = len(measured[0].a)
    title = f"Effects on {count} LR images: median, 5 to 95 %. "
    title += "Differences are between the same image and key."
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in (one, other, f"{other} - {one}"):
        table.add_column(name, justify="right", overflow="fold")
    for effect in measured:
        heading, _ = MEASURES[effect.name]
        table.add_row(
            heading, _spread(effect.a), _spread(effect.b), _spread(effect.b - effect.a, "+")
        )
    return table


def _spread(values: Real, sign: str = "") -> Text:
    middle, low, high = np.percentile(values, [50, 5, 95])
    spread = (f"{low:{sign}.2f} to {high:{sign}.2f}", "dim")
    return Text.assemble(f"{middle:{sign}.2f}\n", spread)
