"""JPEG's straight-through gradient, against a JPEG without rounding and against finite
differences.
"""

from __future__ import annotations

import pytest
import torch

from degrade.canvas import Canvas
from degrade.kernels.jpeg import CHROMA, jpeg


def mid_grey(h: int, w: int) -> torch.Tensor:
    """Values that no clamp touches at a high quality."""
    return 0.5 + 0.2 * (torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(3)) - 0.5)


def smooth_pipeline(x: torch.Tensor, chroma: str) -> torch.Tensor:
    """JPEG without rounding: only the loss of chroma resolution remains. Sides that are whole
    blocks.
    """
    to_ycc = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    y, colour = (torch.einsum("ij,bjhw->bihw", to_ycc, x)).split([1, 2], 1)
    spans = CHROMA[chroma]
    colour = torch.nn.functional.avg_pool2d(colour, spans)
    colour = torch.nn.functional.interpolate(
        colour, scale_factor=tuple(map(float, spans)), mode="bilinear"
    )
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_ycc), torch.cat([y, colour], 1))


@pytest.mark.parametrize("chroma", CHROMA)
def test_gradient_is_that_of_the_smooth_pipeline(chroma):
    x = mid_grey(32, 48)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    grads = []
    for f in (
        lambda x: jpeg(Canvas.of(x), [98], [chroma], differentiable=True).pixels,
        lambda x: smooth_pipeline(x, chroma),
    ):
        leaf = x.clone().requires_grad_()
        (f(leaf) * weight).sum().backward()
        grads.append(leaf.grad)
    # Fixed-point constants differ from the real ones by up to 1e-4 each.
    torch.testing.assert_close(grads[0], grads[1], atol=5e-3, rtol=0)
    if chroma == "4:4:4":
        torch.testing.assert_close(grads[0], weight, atol=5e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_follows_finite_differences(channels):
    """A step of many grey levels, over which roundings average out, changes the pixels as the
    gradient says.
    """
    x = mid_grey(32, 32)[:, :channels]
    direction = torch.nn.functional.interpolate(
        torch.tensor([[[[1.0, -0.5], [-1.0, 0.5]]]]), size=(32, 32), mode="bicubic"
    )
    step = 0.1 * direction.expand_as(x)
    ends = [jpeg(Canvas.of(x + sign * step), [90], ["4:2:0"]).pixels for sign in (0.5, -0.5)]
    change = ends[0] - ends[1]
    leaf = x.clone().requires_grad_()
    (jpeg(Canvas.of(leaf), [90], ["4:2:0"], differentiable=True).pixels * change).sum().backward()
    assert leaf.grad is not None
    predicted = float((leaf.grad * step).sum())
    assert predicted == pytest.approx(float(change.square().sum()), rel=0.05)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_differentiable_values_are_the_same_and_gradients_finite(quality):
    sizes = [(1, 1), (7, 3), (16, 40), (29, 17), (8, 8), (31, 5)]
    canvas, chroma = Canvas.of([mid_grey(h, w)[0] for h, w in sizes]), [*CHROMA, *CHROMA]
    expected = jpeg(canvas, [quality] * len(canvas), chroma)
    leaf = canvas.pixels.clone().requires_grad_()
    result = jpeg(canvas.with_pixels(leaf), [quality] * len(canvas), chroma, differentiable=True)
    inside = torch.zeros_like(leaf)
    for i, (h, w) in enumerate(canvas.sizes):
        inside[i, :, :h, :w] = 1
        assert torch.equal(result.image(i), expected.image(i))
    (result.pixels * inside).sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad * inside).abs().sum() > 0
    assert (leaf.grad * (1 - inside)).abs().max() == 0


def test_gradients_stop_unless_asked_for():
    leaf = mid_grey(16, 16).requires_grad_()
    assert not jpeg(Canvas.of(leaf), [50], ["4:2:0"]).pixels.requires_grad
