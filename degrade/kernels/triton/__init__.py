"""Kernels in Triton: a batch of images of different sizes, one launch for many of them.

All images lie in one buffer of float32, planar, each in slots of its own. A launch works one
kernel for some samples, each with a *record* of 32 words in the one buffer that was uploaded: the
program's own record (:mod:`degrade.kernels.base`), and where the sample lies (:mod:`.pixel`). An
instance of a kernel works one tile of one plane, and returns at once if its image has no such
tile. Tiles start at the image's own corner and sums run over its own taps, so that the bits of an
image do not depend on what else is in the batch.

These modules import :mod:`triton`, which :mod:`degrade.execution.cuda` does only when it is asked
to run. With ``TRITON_INTERPRET=1`` the same kernels run on a CPU, slowly, for tests.
"""
