"""Run: the folder of a training run, and what is written there when.

.. code-block:: text

    config.yaml  recipe.yaml  versions.json
    curves.csv  curves.png  samples/0000500.png  tensorboard/
    last.safetensors  best.safetensors  last.state.pt

Its one constraint: only the first of several processes writes, and no other run writes there
meanwhile. The state is written last and holds all that a run goes on from, so a run that is
killed, at whatever moment, ends as if it had not been.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.images.pixels import encode_png
from degrade.recipe import Recipe
from degrade.storage.files import sweep
from sr import checkpoint, figures
from sr.evaluation import evaluate
from sr.examples import Example
from sr.training import distributed
from sr.training.config import Config

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from sr.training.trainers.base import Method

__all__ = ["Run"]

STATE, LAST, BEST = "last.state.pt", "last.safetensors", "best.safetensors"
SHOWN = 3
"""Images in a sample sheet."""


class Run:
    """The folder of a run.

    Args:
        config: The run; its folder is made.
        recipe: None for ready-made pairs.
        images: How many there are to train on.
        data: What to validate on; may be empty.
        writes: Whether this process is the one that writes.
    """

    def __init__(
        self,
        config: Config,
        recipe: Recipe | None,
        images: int,
        data: Sequence[Example],
        writes: bool = True,
    ) -> None:
        self.config, self.recipe, self.images, self.data, self.writes = (
            config,
            recipe,
            images,
            data,
            writes,
        )
        self.folder = Path(config.out)
        self.history: list[dict[str, float]] = []
        self.best = -math.inf
        self.psnr: float | None = None
        self._board: SummaryWriter | None = None
        self._lock: TextIO | None = None
        self._seen: list[dict[str, Tensor]] = []
        self._begun = time.monotonic()

    # --- beginning and end -----------------------------------------------------------------------

    def begin(self, method: Method, resume: bool) -> None:
        """Goes back to the last checkpoint, or starts afresh in a folder without one.

        Started again by torchrun, because a process died, it goes back to what this launch has
        saved.

        Raises:
            UserError: Another run is there, or at work there; nothing to go back to; the folder
            cannot be written.
        """
        path = self.folder / STATE
        restarted = distributed.restarted() and path.exists()
        state = checkpoint.load_state(path) if resume or restarted else {}
        resume = resume or (restarted and state.get("launch") == launch_id())
        if resume:
            self._restore(path, state, method)
        if self.writes:
            self._hold()
        if not resume and path.exists():
            raise UserError(
                f"{self.folder}: holds a run already; go on with --resume, or choose another --out"
            )
        if not self.writes:
            return
        self._text("config.yaml", self.config.to_yaml())
        if self.recipe is not None:
            self._text("recipe.yaml", f"# hash: {self.recipe.hash}\n{self.recipe.to_yaml()}")
        self._text("versions.json", json.dumps(checkpoint.versions(), indent=2) + "\n")
        if self.config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=method.done)

    def _restore(self, path: Path, state: dict[str, Any], method: Method) -> None:
        wanted = self._identity()
        for name, value in wanted.items():
            found = state.get(name)
            if type(found) is not type(value) or found != value:
                raise UserError(
                    f"{path}: its {name} is {found!r}, this run's is {value!r}; use another --out"
                )
        try:
            method.load(state["method"])
            if method.done < 0:
                raise ValueError(f"{method.done} steps done")
            self.best, self.history = float(state["best"]), checked_history(state["history"])
            self._begun -= float(state["seconds"])
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"{path}: is of another model, or damaged: {error}") from None

    def _hold(self) -> None:
        """Makes the folder, and keeps others from writing there until :meth:`close` or the end
        of the process.
        """
        samples = self.folder / "samples"
        try:
            samples.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / ".lock", "w")  # noqa: SIM115
        except OSError as error:
            raise UserError(f"--out {self.folder}: {error.strerror}") from None
        try:
            # Not flock: a loader's workers would inherit it, and they outlive a killed run by
            # seconds.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{self.folder}: another process is training here; wait for it to end, or choose another --out"
            ) from None
        sweep([*self.folder.glob(".*.tmp"), *samples.glob(".*.tmp")])

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
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
        """The recipe's hash, or the folder of the pairs."""
        return self.config.recipe if self.recipe is None else self.recipe.hash

    def close(self) -> None:
        """Ends the log, and lets go of the folder."""
        if self._board is not None:
            self._board.close()
        if self._lock is not None:
            self._lock.close()

    # --- during ----------------------------------------------------------------------------------

    def after(self, method: Method, losses: dict[str, Tensor]) -> bool:
        """Logs, validates and saves, each when it is due. Returns whether it logged.

        Raises:
            UserError: A loss is not finite, or nothing can be written.
        """
        config, step = self.config, method.done
        last = step == config.steps
        self._seen.append(losses)
        saves = last or step % config.save_every == 0
        logs = (
            saves or step % config.log_every == 0
        )  # a loss that is not finite must be seen before it is saved
        if logs:
            self._log(step)
        if self.writes and self.data and (last or step % config.val_every == 0):
            self._validate(method)
        if saves:
            self.save(method)
        return logs

    def _log(self, step: int) -> None:
        """Means since the last time. Losses stay on their device until then."""
        names = dict.fromkeys(name for losses in self._seen for name in losses)
        losses = {
            name: float(torch.stack([one[name] for one in self._seen if name in one]).mean())
            for name in names
        }
        self._seen.clear()
        bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
        if bad:
            raise UserError(
                f"step {step}: the loss {bad[0]} is {losses[bad[0]]}; the last checkpoint in {self.folder} is from "
                "before. Try a lower rate (--set rate=..), clipping (--set clip=1) or --set precision=32-true"
            )
        self.history.append({"step": step, "seconds": time.monotonic() - self._begun, **losses})
        if self._board is not None:
            for name, loss in losses.items():
                self._board.add_scalar(f"train/{name}", loss, step)

    def _validate(self, method: Method) -> None:
        shown: list[tuple[str, Tensor, Tensor, Tensor]] = []

        def see(example: Example, sr: Tensor) -> None:
            if len(shown) < SHOWN:
                shown.append((example.name, example.lr, sr, example.hr))

        model = method.model
        training = model.training
        mean = evaluate(
            model.eval(), self.folder.name, self.data, self.recipe, see=see, lpips=False
        ).mean
        model.train(training)
        step, self.psnr = method.done, mean["psnr_y"]
        scores = {"psnr_y": mean["psnr_y"], "ssim_y": mean["ssim_y"]}
        if not self.history or self.history[-1]["step"] != step:
            self.history.append({"step": step, "seconds": time.monotonic() - self._begun})
        self.history[-1] |= scores
        sheet = figures.triplets(shown, f"{self.folder.name}, step {step}: {self.psnr:.2f} dB Y")
        checkpoint.write(self.folder / "samples" / f"{step:07d}.png", encode_png(sheet))
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(f"val/{name}", value, step)
            self._board.add_image("val/samples", sheet, step, dataformats="HWC")
        if self.psnr > self.best:
            self.best = self.psnr
            checkpoint.save(self.folder / BEST, model, self._notes(step) | {"psnr_y": self.psnr})

    def save(self, method: Method) -> None:
        """Writes the curves and the last checkpoint; whatever is there of a step, all before it
        is there too.
        """
        if not self.writes:
            return
        self._text("curves.csv", history_csv(self.history))
        if self.history:
            checkpoint.write(
                self.folder / "curves.png", figures.curves(self.history, self.folder.name)
            )
        checkpoint.save(self.folder / LAST, method.model, self._notes(method.done))
        progress = {
            "best": self.best,
            "history": self.history,
            "seconds": time.monotonic() - self._begun,
        }
        state = {**self._identity(), "launch": launch_id(), "method": method.state(), **progress}
        checkpoint.save_state(self.folder / STATE, state)

    def _notes(self, step: int) -> dict[str, Any]:
        recipe = self.config.recipe if self.recipe is None else self.recipe.name
        return {
            "recipe": recipe,
            "hash": self.recipe_id,
            "step": step,
            "training": self.config.model_dump(mode="json", exclude={"out", "data", "val"}),
        }

    def _text(self, name: str, text: str) -> None:
        checkpoint.write(self.folder / name, text.encode())


def launch_id() -> str:
    """What torchrun calls this launch, through all its restarts; empty without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def checked_history(rows: Any) -> list[dict[str, float]]:
    """The rows of a history that was read. Raises ValueError, TypeError or AttributeError."""
    return [{str(name): float(value) for name, value in row.items()} for row in rows]


def history_csv(history: Sequence[dict[str, float]]) -> str:
    """Rows of numbers by name; columns in the order in which they first appear."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in history)
    return buffer.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """The inverse of :func:`history_csv`; no rows where there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]
