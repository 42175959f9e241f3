"""Folder of a training run, and what is written there; the loop says when.

.. code-block:: text

    config.yaml  recipe.yaml  versions.json
    curves.csv  curves.png  samples/0000500.png  tensorboard/
    last.safetensors  best.safetensors  last.state.pt  checkpoints/0005000.safetensors

Only rank 0 writes, and a lock keeps other runs out. The state is written last and holds everything
that a resume needs, so a killed run, once resumed, gives the same result.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.images.pixels import encode_png
from degrade.recipe import Recipe
from degrade.storage.files import sweep
from degrade.storage.lock import locked
from sr import checkpoint, figures
from sr.models import Model
from sr.training import distributed
from sr.training.history import checked_history, history_csv
from sr.training.settings import Config
from sr.training.trainers import Trainer
from sr.training.validation import Scores, describe_scores, is_better

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["BEST", "LAST", "STATE", "Run"]

STATE, LAST, BEST = "last.state.pt", "last.safetensors", "best.safetensors"
VERSIONS = "versions.json"
LATER = ("trainer", "architecture", "model", "optimizer")
"""What states of earlier versions do not say."""
REASON = 20
"""Words of torch's reason that an error repeats; it lists every tensor."""


class Run:
    """A run's folder, its history of losses and its best validation.

    Args:
        config: The run.
        recipe: None for pairs on disk.
        images: Number of training images.
        writes: Whether this process writes the folder.
    """

    def __init__(
        self, config: Config, recipe: Recipe | None, images: int, writes: bool = True
    ) -> None:
        self.config, self.recipe = config, recipe
        self.images, self.writes = images, writes
        self.folder = Path(config.out)
        self.history: list[dict[str, float]] = []
        self.best: float | None = None
        """Best value of ``best_by``."""
        self.best_by: str | None = None
        self.scores: Mapping[str, float] = {}
        """Means of the last validation by metric; empty before the first."""
        self._tensorboard: SummaryWriter | None = None
        self._lock = ExitStack()
        self._begun = time.monotonic()

    # --- begin and close -------------------------------------------------------------------------

    def open(self, resume: bool) -> dict[str, Any] | None:
        """Lock the folder, and return the state of the last checkpoint, or None for a new run.

        Processes that torchrun restarted continue the checkpoint of their launch.

        Raises:
            UserError: The folder holds another run, is in use, has no checkpoint to resume, or
                cannot be written.
        """
        path = self.folder / STATE
        restarted = distributed.restarted() and path.exists()
        state = checkpoint.load_state(path) if resume or restarted else {}
        resume = resume or (restarted and state.get("launch") == launch_id())
        if resume:
            self._check_identity(path, state)
        if self.writes:
            if not (self.folder / VERSIONS).exists():
                self._check_new()
            self._lock_folder()
        if not resume and path.exists():
            raise UserError(
                f"{self.folder}: already contains a run; "
                "continue it with --resume, or choose another --output"
            )
        return state if resume else None

    def _check_new(self) -> None:
        """Refuse to write over files that are not of a run."""
        for name in ("config.yaml", "recipe.yaml", LAST, BEST, "curves.csv", "curves.png"):
            if os.path.lexists(self.folder / name):
                raise UserError(
                    f"{self.folder / name}: is already there, and is of no run; choose another "
                    "--output"
                )

    def begin(self, trainer: Trainer, state: Mapping[str, Any] | None) -> None:
        """Restore a state, and write what the run is. Raises UserError."""
        if state is not None:
            self._restore(state, trainer)
        if not self.writes:
            return
        # First, because it makes the folder a run's.
        self._write(VERSIONS, json.dumps(checkpoint.versions(), indent=2) + "\n")
        self._write("config.yaml", self.config.to_yaml())
        if self.recipe is not None:
            self._write("recipe.yaml", f"# hash: {self.recipe.hash}\n{self.recipe.to_yaml()}")
        if self.config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(
                str(self.folder / "tensorboard"), purge_step=trainer.done
            )

    def _check_identity(self, path: Path, state: Mapping[str, Any]) -> None:
        for name, value in self._identity().items():
            found = state.get(name, value if name in LATER else None)
            if type(found) is not type(value) or found != value:
                raise UserError(
                    f"{path}: its {name} is {found!r}, this run's is {value!r}; "
                    f"choose another --output, with --init {self.folder} for its weights"
                )

    def _restore(self, state: Mapping[str, Any], trainer: Trainer) -> None:
        path = self.folder / STATE
        try:
            trainer.load(state["method"])
            if trainer.done < 0:
                raise ValueError(f"{trainer.done} steps done")
            self.best_by = state.get("best_by", "psnr_y")
            best = state["best"]
            self.best = None if best is None or not math.isfinite(best) else float(best)
            self.history = checked_history(state["history"])
            self._begun -= float(state["seconds"])
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split()[:REASON])
            raise UserError(f"{path}: is of another model, or is damaged: {reason}") from None
        if trainer.done > self.config.steps:
            raise UserError(
                f"--steps {self.config.steps}: {self.folder} has {trainer.done} already; give more"
            )

    def _lock_folder(self) -> None:
        """Create the folder and lock it until :meth:`close` or the end of the process."""
        samples = self.folder / "samples"
        try:
            samples.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output {self.folder}: {error.strerror}") from None
        refusal = (
            "another process is training here; wait for it to end, or choose another --output"
        )
        self._lock.enter_context(locked(self.folder, refusal))
        sweep([*self.folder.glob(".*.tmp"), *samples.glob(".*.tmp")])

    def _identity(self) -> dict[str, Any]:
        """What a resumed run must share with its checkpoint."""
        config = self.config
        return {
            "kind": config.method,
            "scale": config.scale,
            "seed": config.seed,
            "batch": config.batch,
            "recipe": self.recipe_id,
            "images": self.images,
            "trainer": config.trainer,
            "architecture": config.architecture,
            "model": config.model,
            "optimizer": config.optimizer,
        }

    @property
    def recipe_id(self) -> str:
        """The recipe's hash, or the ``pairs:`` folder."""
        return self.config.recipe if self.recipe is None else self.recipe.hash

    def close(self) -> None:
        """Close the log and unlock the folder."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        self._lock.close()

    # --- what the loop writes --------------------------------------------------------------------

    def log(self, step: int, losses: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """Add the means of the losses of some steps to the history, and return them. A non-finite
        loss is so found before a checkpoint is saved.

        Raises:
            UserError: A loss is not finite.
        """
        names = dict.fromkeys(name for one in losses for name in one)
        means = {
            name: float(torch.stack([scalar(one[name]) for one in losses if name in one]).mean())
            for name in names
        }
        for name, loss in means.items():
            if not math.isfinite(loss):
                saved = (self.folder / STATE).is_file()
                kept = f"the last checkpoint in {self.folder} is from before" if saved else ""
                raise UserError(
                    f"step {step}: the loss {name} is {loss}; {kept or 'nothing was saved yet'}. "
                    "Try a lower learning rate (--set rate=..), gradient clipping (--set clip=1) "
                    "or --set precision=32-true"
                )
        self.history.append({"step": step, "seconds": time.monotonic() - self._begun, **means})
        self._log_scalars("train", means, step)
        return means

    def validated(self, step: int) -> bool:
        """Return whether the history has a validation after ``step`` steps."""
        return any(row["step"] == step and "psnr_y" in row for row in self.history)

    def record(self, model: Model, step: int, scores: Scores) -> None:
        """Write a validation: its row, its sheet, and the model if it is the best so far."""
        self.scores = scores.means
        if not self.history or self.history[-1]["step"] != step:
            self.history.append({"step": step, "seconds": time.monotonic() - self._begun})
        self.history[-1] |= scores.means
        heading = f"{self.folder.name}, step {step}: {describe_scores(self.scores)}"
        sheet = figures.comparison_sheet(scores.shown, heading)
        checkpoint.write(self.folder / "samples" / f"{step:07d}.png", encode_png(sheet))
        self._log_scalars("val", scores.means, step)
        if self._tensorboard is not None:
            self._tensorboard.add_image("val/samples", sheet, step, dataformats="HWC")
        metric = scores.chosen_by
        if metric is None:
            return
        best = self.best if self.best_by == metric else None
        if is_better(metric, scores.means[metric], best):
            self.best, self.best_by = scores.means[metric], metric
            notes = self._metadata(step) | {"selected_by": metric, **scores.means}
            checkpoint.save(self.folder / BEST, model, notes)

    def _log_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{group}/{name}", value, step)

    def keep(self, model: Model, step: int) -> None:
        """Write a numbered checkpoint, which no later one replaces."""
        if self.writes:
            (self.folder / "checkpoints").mkdir(exist_ok=True)
            path = self.folder / "checkpoints" / f"{step:07d}.safetensors"
            checkpoint.save(path, model, self._metadata(step))

    def save(self, trainer: Trainer) -> None:
        """Write the curves, the last checkpoint and, after them, the state."""
        if not self.writes:
            return
        self._write("curves.csv", history_csv(self.history))
        if self.history:
            curves = figures.plot_curves(self.history, self.folder.name)
            checkpoint.write(self.folder / "curves.png", curves)
        checkpoint.save(self.folder / LAST, trainer.model, self._metadata(trainer.done))
        state = {
            **self._identity(),
            "launch": launch_id(),
            "method": trainer.state(),
            "best": self.best,
            "best_by": self.best_by,
            "history": self.history,
            "seconds": time.monotonic() - self._begun,
        }
        checkpoint.save_state(self.folder / STATE, state)

    def _metadata(self, step: int) -> dict[str, Any]:
        recipe = self.config.recipe if self.recipe is None else self.recipe.name
        return {
            "recipe": recipe,
            "hash": self.recipe_id,
            "step": step,
            "steps": self.config.steps,
            "trainer": self.config.trainer,
            "training": self.config.model_dump(
                mode="json", exclude={"out", "data", "exclude", "val"}
            ),
        }

    def _write(self, name: str, text: str) -> None:
        checkpoint.write(self.folder / name, text.encode())


def scalar(loss: Tensor | float) -> Tensor:
    """Return a loss as a tensor; trainers of one's own may return numbers."""
    return torch.as_tensor(loss, dtype=torch.float32).detach()


def launch_id() -> str:
    """Return torchrun's id of this launch, the same after restarts; empty without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")
