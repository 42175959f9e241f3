"""The definitions of the heavy work, one noun a module: convolve, resample, jpeg, noise, unsharp,
quantize, codec, psf.

Operators (:mod:`degrade.ops`) say what is random; a kernel says what is computed: its formula,
units and tables, and a batched torch form. :mod:`degrade.kernels.native` holds the same in C, and
:mod:`degrade.kernels.backend` says which of them works a canvas.
"""
