"""Lipschitz constants in the L2 norm: certified bounds of layers and networks, and layers that are 1-Lipschitz."""

from kdzoo.robust.certify.lipschitz.gram import coarse_grid_bound, gram_bound, power_iteration_lower_bound
from kdzoo.robust.certify.lipschitz.layers import AOLLinear, CPLLayer, SLLLayer, spectral_norm
from kdzoo.robust.certify.lipschitz.network import margin_radius, network_bound

__all__ = [
    "AOLLinear",
    "CPLLayer",
    "SLLLayer",
    "coarse_grid_bound",
    "gram_bound",
    "margin_radius",
    "network_bound",
    "power_iteration_lower_bound",
    "spectral_norm",
]
