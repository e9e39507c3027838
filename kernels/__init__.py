"""Fused Triton loss kernels, imported as ``kdzoo.kernels``."""
