"""degrade: degradation pipelines and paired data for super-resolution and restoration.

>>> from degrade import Recipe
>>> Recipe.load("realesrgan").scale
4
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from degrade.base import Draw, Operator
    from degrade.canvas import Canvas
    from degrade.data.batches import degrade_batch
    from degrade.data.epochs import EpochDataset, EpochSampler
    from degrade.data.paired_folder import PairedFolder
    from degrade.data.pairs import DegradedFolder, pairs
    from degrade.data.patches import PatchFolder
    from degrade.data.prefetch import prefetch
    from degrade.distributions import Const, Dist
    from degrade.errors import RecipeError
    from degrade.fields import Categorical, Probability, Range
    from degrade.fields import Categorical as OneOf
    from degrade.fields import Probability as Chance
    from degrade.plan import Plan
    from degrade.recipe import Pair, Recipe, recipes
    from degrade.rng import Key

__version__ = "0.1.0"

_HOME = {
    "base": ("Draw", "Operator"),
    "canvas": ("Canvas",),
    "data.batches": ("degrade_batch",),
    "data.epochs": ("EpochDataset", "EpochSampler"),
    "data.paired_folder": ("PairedFolder",),
    "data.pairs": ("DegradedFolder", "pairs"),
    "distributions": ("Const", "Dist"),
    "fields": ("Categorical", "Probability", "Range"),
    "errors": ("RecipeError",),
    "data.patches": ("PatchFolder",),
    "data.prefetch": ("prefetch",),
    "plan": ("Plan",),
    "recipe": ("Pair", "Recipe", "recipes"),
    "rng": ("Key",),
}

_OLD = {"Chance": "Probability", "OneOf": "Categorical"}
"""Old names of field types, kept for plug-ins; use the new ones."""

__all__ = [
    "Canvas",
    "Categorical",
    "Chance",
    "Const",
    "DegradedFolder",
    "Dist",
    "Draw",
    "EpochDataset",
    "EpochSampler",
    "Key",
    "OneOf",
    "Operator",
    "Pair",
    "PairedFolder",
    "PatchFolder",
    "Plan",
    "Probability",
    "Range",
    "Recipe",
    "RecipeError",
    "degrade_batch",
    "pairs",
    "prefetch",
    "recipes",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: ``degrade --help`` must not wait for PyTorch."""
    name = _OLD.get(name, name)
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"degrade.{module}"), name)
    raise AttributeError(f"module 'degrade' has no attribute {name!r}")
