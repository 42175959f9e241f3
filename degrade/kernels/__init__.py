"""The definitions of the heavy work, one noun a module: convolve, resample, jpeg, noise, unsharp,
quantize, codec, psf.

Operators (:mod:`degrade.ops`) say what is random; a kernel says what is computed: its formula,
units and tables, the record of its arguments, and a batched reference in torch.
:mod:`degrade.kernels.native` holds the same in C, :mod:`degrade.kernels.triton` for CUDA devices;
:mod:`degrade.execution` says which of them runs.
"""
