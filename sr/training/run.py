"""Folder of a training run, and what is written there when.

.. code-block:: text

    config.yaml  recipe.yaml  versions.json
    curves.csv  curves.png  samples/0000500.png  tensorboard/
    last.safetensors  best.safetensors  last.state.pt

Only rank 0 writes, and a lock keeps other runs out. The state is written last and holds everything
that a resume needs, so a killed run, once resumed, gives the same result.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Sequence
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
from sr.evaluation import evaluate
from sr.examples import Example
from sr.models import Model
from sr.training import distributed
from sr.training.config import Config
from sr.training.trainers.base import Trainer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["BEST", "LAST", "STATE", "Run", "history_csv", "read_history"]

STATE, LAST, BEST = "last.state.pt", "last.safetensors", "best.safetensors"
SHEET_IMAGES = 3
"""Images of samples/*.png."""


class Run:
    """A run's folder, its history of losses and its best validation.

    Args:
        config: The run.
        recipe: None for pairs on disk.
        images: Number of training images.
        examples: Validation images; may be empty.
        writes: Whether this process writes the folder.
    """

    def __init__(
        self,
        config: Config,
        recipe: Recipe | None,
        images: int,
        examples: Sequence[Example],
        writes: bool = True,
    ) -> None:
        self.config, self.recipe = config, recipe
        self.images, self.examples, self.writes = images, examples, writes
        self.folder = Path(config.out)
        self.history: list[dict[str, float]] = []
        self.best = -math.inf
        self.psnr: float | None = None
        self._tensorboard: SummaryWriter | None = None
        self._lock = ExitStack()
        self._losses: list[dict[str, Tensor]] = []
        self._begun = time.monotonic()

    # --- begin and close -------------------------------------------------------------------------

    def begin(self, trainer: Trainer, resume: bool) -> None:
        """Restore the last checkpoint, or start in a folder without one.

        Processes that torchrun restarted restore the last checkpoint of their launch.

        Raises:
            UserError: The folder holds another run, is in use, has no checkpoint to resume, or
                cannot be written.
        """
        path = self.folder / STATE
        restarted = distributed.restarted() and path.exists()
        state = checkpoint.load_state(path) if resume or restarted else {}
        resume = resume or (restarted and state.get("launch") == launch_id())
        if resume:
            self._restore(path, state, trainer)
        if self.writes:
            self._lock_folder()
        if not resume and path.exists():
            raise UserError(
                f"{self.folder}: already contains a run; "
                "continue it with --resume, or choose another --out"
            )
        if not self.writes:
            return
        self._write("config.yaml", self.config.to_yaml())
        if self.recipe is not None:
            self._write("recipe.yaml", f"# hash: {self.recipe.hash}\n{self.recipe.to_yaml()}")
        self._write("versions.json", json.dumps(checkpoint.versions(), indent=2) + "\n")
        if self.config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(
                str(self.folder / "tensorboard"), purge_step=trainer.done
            )

    def _restore(self, path: Path, state: dict[str, Any], trainer: Trainer) -> None:
        wanted = self._identity()
        for name, value in wanted.items():
            found = state.get(name)
            if type(found) is not type(value) or found != value:
                raise UserError(
                    f"{path}: its {name} is {found!r}, this run's is {value!r}; "
                    "choose another --out"
                )
        try:
            trainer.load(state["method"])
            if trainer.done < 0:
                raise ValueError(f"{trainer.done} steps done")
            self.best, self.history = float(state["best"]), checked_history(state["history"])
            self._begun -= float(state["seconds"])
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"{path}: is of another model, or is damaged: {error}") from None

    def _lock_folder(self) -> None:
        """Create the folder and lock it until :meth:`close` or the end of the process."""
        samples = self.folder / "samples"
        try:
            samples.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self.folder}: {error.strerror}") from None
        refusal = "another process is training here; wait for it to end, or choose another --out"
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

    # --- steps -----------------------------------------------------------------------------------

    def on_step_end(self, trainer: Trainer, losses: dict[str, Tensor]) -> bool:
        """Log, validate and save when due. Return whether losses were logged.

        Raises:
            UserError: A loss is not finite, or the folder cannot be written.
        """
        config, step = self.config, trainer.done
        last = step == config.steps
        self._losses.append(losses)
        saves = last or step % config.save_every == 0
        # A non-finite loss must be found before a checkpoint is saved.
        logs = saves or step % config.log_every == 0
        if logs:
            self._log(step)
        if self.writes and self.examples and (last or step % config.val_every == 0):
            self._validate(trainer)
        if saves:
            self.save(trainer)
        return logs

    def _log(self, step: int) -> None:
        """Append the mean losses since the last log; until then they stay on their device."""
        names = dict.fromkeys(name for losses in self._losses for name in losses)
        losses = {
            name: float(torch.stack([step[name] for step in self._losses if name in step]).mean())
            for name in names
        }
        self._losses.clear()
        self._check_finite(step, losses)
        self.history.append({"step": step, "seconds": time.monotonic() - self._begun, **losses})
        if self._tensorboard is not None:
            for name, loss in losses.items():
                self._tensorboard.add_scalar(f"train/{name}", loss, step)

    def _check_finite(self, step: int, losses: dict[str, float]) -> None:
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise UserError(
                    f"step {step}: the loss {name} is {loss}; the last checkpoint in "
                    f"{self.folder} is from before. Try a lower learning rate (--set rate=..), "
                    "gradient clipping (--set clip=1) or --set precision=32-true"
                )

    def _validate(self, trainer: Trainer) -> None:
        """Evaluate the model, write samples, and save it if it is the best so far."""
        shown: list[tuple[str, Tensor, Tensor, Tensor]] = []

        def keep(example: Example, sr: Tensor) -> None:
            if len(shown) < SHEET_IMAGES:
                shown.append((example.name, example.lr, sr, example.hr))

        model, step = trainer.model, trainer.done
        mean = self._evaluate(model, keep)
        self.psnr = mean["psnr_y"]
        scores = {"psnr_y": mean["psnr_y"], "ssim_y": mean["ssim_y"]}
        if not self.history or self.history[-1]["step"] != step:
            self.history.append({"step": step, "seconds": time.monotonic() - self._begun})
        self.history[-1] |= scores
        heading = f"{self.folder.name}, step {step}: {self.psnr:.2f} dB Y"
        sheet = figures.comparison_sheet(shown, heading)
        checkpoint.write(self.folder / "samples" / f"{step:07d}.png", encode_png(sheet))
        if self._tensorboard is not None:
            for name, value in scores.items():
                self._tensorboard.add_scalar(f"val/{name}", value, step)
            self._tensorboard.add_image("val/samples", sheet, step, dataformats="HWC")
        if self.psnr > self.best:
            self.best = self.psnr
            metadata = self._metadata(step) | {"psnr_y": self.psnr}
            checkpoint.save(self.folder / BEST, model, metadata)

    def _evaluate(
        self, model: Model, on_image: Callable[[Example, Tensor], None]
    ) -> dict[str, float]:
        """Mean metrics over the validation images; the model's mode is restored."""
        training = model.training
        name, recipe = self.folder.name, self.recipe
        results = evaluate(
            model.eval(), name, self.examples, recipe, on_image=on_image, lpips=False
        )
        model.train(training)
        return results.mean

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
            "training": self.config.model_dump(mode="json", exclude={"out", "data", "val"}),
        }

    def _write(self, name: str, text: str) -> None:
        checkpoint.write(self.folder / name, text.encode())


def launch_id() -> str:
    """Return torchrun's id of this launch, the same after restarts; empty without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def checked_history(rows: Any) -> list[dict[str, float]]:
    """Validate a history that was read. Raises ValueError, TypeError or AttributeError."""
    return [{str(name): float(value) for name, value in row.items()} for row in rows]


def history_csv(history: Sequence[dict[str, float]]) -> str:
    """Return a history as CSV, columns in the order in which they first appear.

    >>> print(history_csv([{"step": 1, "loss": 0.5}, {"step": 2, "psnr_y": 30.0}]), end="")
    step,loss,psnr_y
    1,0.5,
    2,,30
    """
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in history)
    return buffer.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a file of :func:`history_csv`; no rows if it does not exist."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]
