"""Settings of a training run: their names, ranges and defaults.

A run has two axes: a trainer (``pixel``, ``gan``, ``sparse``), which has the losses, and an
architecture, the model that it trains.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, model_validator

from degrade.errors import close
from sr.losses import LOSSES
from sr.losses.perceptual import BACKBONES, VGG_DEPTHS
from sr.models import DISCRIMINATORS, MODELS
from sr.registry import Registry
from sr.training.reading import Settings

__all__ = ["Config", "Gan"]


def _known(registry: Registry[Any]) -> AfterValidator:
    def check(name: str) -> str:
        registry.find(name)
        return name

    return AfterValidator(check)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"device {name}: should be auto, cpu, cuda, cuda:1 or mps")
    return name


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[str, _known(LOSSES)]


class Gan(Settings):
    """Settings of the trainer ``gan``.

    Args:
        pretrain: Steps with the pixel loss alone, before the adversarial ones.
        perceptual: Network of the content loss: vgg19, vgg16, efficientnet_lite0 or none (pixels).
        layers: Weights of layers of a VGG by name, before the ReLU: ``{conv5_4: 1}``. Empty: the
            network's own choice; of a VGG the last after the ReLU, in the paper conv5_4.
        criterion: Distance of the features: mse or l1.
        content: Weight of the content loss.
        pixel: Weight of the pixel loss added to it.
        adversarial: Weight of the generator's adversarial loss.
        tv: Weight of total variation; the paper's first version had 2e-8.
        objective: Adversarial loss: vanilla (cross-entropy), lsgan or hinge.
        relativistic: Whether logits are compared with the mean of the other side's (ESRGAN).
        smoothing: The discriminator's label of photographs is 1 - smoothing; vanilla only.
        architecture: Discriminator: srgan, esrgan, unet or patch.
        discriminator: Settings of its constructor.
    """

    pretrain: Count = 0
    perceptual: str = "vgg19"
    layers: dict[str, Weight] = Field(default_factory=dict)
    criterion: Literal["mse", "l1"] = "mse"
    content: Weight = 1.0
    pixel: Weight = 0.0
    adversarial: Weight = 1e-3
    tv: Weight = 0.0
    objective: Literal["vanilla", "lsgan", "hinge"] = "vanilla"
    relativistic: bool = False
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    architecture: Annotated[str, _known(DISCRIMINATORS)] = "srgan"
    discriminator: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> Gan:
        if self.perceptual not in BACKBONES:
            raise ValueError(
                f"perceptual {self.perceptual!r}: unknown{close(self.perceptual, [*BACKBONES])}"
            )
        if self.smoothing and self.objective != "vanilla":
            raise ValueError(f"smoothing {self.smoothing}: needs objective vanilla")
        if self.layers and self.perceptual not in VGG_DEPTHS:
            raise ValueError(f"layers: are those of a VGG, not of {self.perceptual}")
        return self


class Config(Settings):
    """A training run.

    Args:
        method: What ``sr train`` was given: a method (srcnn, srresnet, msrresnet, rrdb, srgan,
            sparse), a trainer or a model.
        trainer: What steps: pixel, gan, sparse or one of your own, ``module:Class``.
        architecture: The model that is trained; a name, or ``module:Class``.
        options: Settings of a trainer of your own; those of sr have none.
        recipe: Name or file of a recipe, or ``pairs:DIR`` for pairs on disk.
        scale: HR size / LR size; by default the recipe's.
        data: HR images: folders, files or globs. Not for ``pairs:``.
        exclude: Text files of images to leave out, as ``degrade doctor --exclude`` writes: one
            for each of ``data``, in their order, or none.
        val: HR images to validate on, or ``pairs:DIR``; the best checkpoint is chosen on them.
            ``samples``, the default unless the recipe is ``pairs:``, are crops of the sample
            photographs. None: no validation. HR images of a run on ``pairs:`` are degraded by the
            recipe that lies there.
        out: Folder of the run; by default ``runs/METHOD_xSCALE_RECIPE``.
        init: Checkpoint of the initial weights. A resumed run does not need it.
        seed: Seed of the weights, of the order of the images and of every degradation.
        steps: Optimizer steps.
        batch: Samples a step, over all processes and accumulated parts.
        patch: Side of an HR patch in pixels.
        rotate: Whether patches are turned by quarters. All are flipped at random.
        margin: HR pixels read around each patch, degraded with it and cut off, so that a patch is
            as it is in the degraded image. None: 4 LR pixels, all that ``bicubic`` looks at.
        accumulate: Parts over which a process accumulates the gradient of its share of a batch.
            Saves memory; changes nothing but the statistics of batch normalization.
        workers: Data loader workers of each process. None: none on a CPU, which has nothing to
            hide them behind; else the process's share of the cores, at most 8. Results do not
            depend on it.
        degrade: Where LR images are made: on the device, or in the workers.
        cache: GiB of decoded training images that are kept; 0: none.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: 32-true, bf16-mixed or 16-mixed. Images, losses and weights stay float32.
        compile: Whether networks are compiled by ``torch.compile``.
        sync_bn: Whether several GPU processes share the statistics of batch normalization.
        model: Settings of the model's constructor, except the scale.
        loss: Pixel loss: l1, mse, charbonnier, ms_ssim, ffl, lpips, dists, or ``module:Class``.
        losses: Weights of further losses by name, ldl too: ``{lpips: 0.1, ffl: 1}``.
        optimizer: adam or sgd.
        rate: Base learning rate.
        last_rate: Learning rate of SRCNN's last layer relative to the others.
        momentum: Momentum of SGD; beta_1 of Adam.
        beta2: beta_2 of Adam.
        schedule: Factor of the learning rate: constant, cosine (from 1 to ``floor``), step
            (times ``gamma`` at each milestone), or wsd (warm-up, stable, decay: 1, then linear to
            ``floor``).
        milestones: Fractions of the run.
        gamma: See ``schedule``.
        floor: See ``schedule``.
        decay: Share of the run in which the rate of ``wsd`` falls.
        warmup: Steps of linear warm-up.
        clip: Largest norm of the gradient; 0: no clipping.
        ema: Decay of the moving average of the weights, which is then the model that is validated
            and saved; 0: no average.
        best_by: Metric that chooses the best checkpoint: psnr_y, ssim_y, lpips, dists or none.
            auto: psnr_y; of a GAN lpips or dists where its weights are installed, else none.
        log_every: Steps between rows of curves.csv.
        val_every: Steps between validations.
        save_every: Steps between checkpoints.
        keep_every: Steps between checkpoints that are kept, ``checkpoints/0005000.safetensors``;
            0: none.
        tensorboard: Whether to write TensorBoard logs too.
        gan: Settings of the trainer gan only.
    """

    method: str
    trainer: str = "pixel"
    architecture: Annotated[str, _known(MODELS)] = "srresnet"
    options: dict[str, Any] = Field(default_factory=dict)
    recipe: str = "bicubic"
    scale: Annotated[int, Field(ge=1, le=8)] = 4
    data: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    val: str | None = None
    out: str = "runs/run"
    init: str | None = None
    seed: int = 0
    steps: Positive = 10_000
    batch: Annotated[int, Field(ge=1, le=2**16)] = 16
    patch: Annotated[int, Field(ge=1, le=2**12)] = 96
    rotate: bool = True
    margin: Annotated[int, Field(ge=0, le=2**12)] | None = None
    accumulate: Annotated[int, Field(ge=1, le=2**16)] = 1
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    degrade: Literal["device", "workers"] = "device"
    cache: Weight = 2.0
    device: Annotated[str, AfterValidator(_device)] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    sync_bn: bool = True
    model: dict[str, Any] = Field(default_factory=dict)
    loss: Loss = "mse"
    losses: dict[Loss, Weight] = Field(default_factory=dict)
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 1e-4
    last_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    schedule: Literal["constant", "cosine", "step", "wsd"] = "constant"
    milestones: tuple[Fraction, ...] = (0.5,)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    floor: Fraction = 0.01
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    warmup: Count = 0
    clip: Weight = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    best_by: Literal["auto", "psnr_y", "ssim_y", "lpips", "dists", "none"] = "auto"
    log_every: Positive = 50
    val_every: Positive = 500
    save_every: Positive = 500
    keep_every: Count = 0
    tensorboard: bool = True
    gan: Gan = Gan()

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.exclude and len(self.exclude) != len(self.data):
            raise ValueError(
                f"exclude: lists {len(self.exclude)}, data: folders {len(self.data)}; give one "
                "list for each folder, in their order (pairs: has none)"
            )
        return self

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        """Each of ``data`` with its list of images to leave out."""
        return list(zip(self.data, self.exclude or [None] * len(self.data), strict=True))

    def to_yaml(self) -> str:
        """Return the config as a file that ``sr train --config`` reads."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None
        )
