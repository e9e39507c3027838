"""A key-value cache of the shots beside a zero-shot classifier, as in Tip-Adapter."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import torch
from torch import Tensor

from kdzoo.heads.zero_shot import accuracy, check_text_weights, one_hot, unit_tensor, zero_shot_logits


class TipAdapter:
    r"""Training-free: :math:`100 f W + \alpha\, e^{-\beta (1 - f K^\top)} V`.

    K are the shots' unit features and V their one-hot labels. ``choose`` picks alpha and beta on validation samples
    (the published scripts search on the test set).

    Args:
        text_weights: [D, K], unit columns.
        alpha: weight of the cache, 1.17 as for ImageNet in the authors' configuration.
        beta: sharpness, 1 likewise.
        scale: of the zero-shot logits.

    Source: Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022.

    Example:
        >>> tip = TipAdapter(text_weights).fit(features, y).choose(features_val, y_val)
        >>> tip.score(features_test, y_test)
    """

    def __init__(self, text_weights: Tensor | np.ndarray, alpha: float = 1.17, beta: float = 1.0, scale: float = 100.0):
        self.text_weights = check_text_weights(text_weights)
        self.alpha, self.beta, self.scale = alpha, beta, scale
        self.keys: Tensor | None = None  # [N, D]
        self.values: Tensor | None = None  # [N, K]

    def fit(self, features: Tensor | np.ndarray, y: Tensor | np.ndarray) -> "TipAdapter":
        """Store the shots: features [N, D], classes [N]."""
        keys = unit_tensor(features, "features")
        if keys.shape[1] != len(self.text_weights):
            raise ValueError(f"text_weights is {list(self.text_weights.shape)}, expected [{keys.shape[1]}, K]")
        self.values = one_hot(y, len(keys), self.text_weights.shape[1]).to(keys)
        self.keys = keys
        return self

    def choose(
        self,
        features: Tensor | np.ndarray,
        y: Tensor | np.ndarray,
        alphas: Iterable[float] = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
        betas: Iterable[float] = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
    ) -> "TipAdapter":
        """Set alpha and beta to the pair that is best on validation samples; of equals, the first tried."""

        def accuracy(pair: tuple[float, float]) -> float:
            self.alpha, self.beta = pair
            return self.score(features, y)

        self.alpha, self.beta = max(product(alphas, betas), key=accuracy)
        return self

    def logits(self, features: Tensor | np.ndarray) -> Tensor:
        """[B, K]."""
        if self.keys is None:
            raise ValueError("this TipAdapter has no cache yet; call fit first")
        x = unit_tensor(features, "features").to(self.keys)
        affinity = torch.exp(-self.beta * (1 - x @ self.keys.T))  # [B, N]
        return zero_shot_logits(x, self.text_weights.to(x), self.scale) + self.alpha * affinity @ self.values

    def predict(self, features: Tensor | np.ndarray) -> np.ndarray:
        """Classes [B]."""
        return self.logits(features).argmax(dim=1).cpu().numpy()

    def score(self, features: Tensor | np.ndarray, y: Tensor | np.ndarray) -> float:
        """Accuracy in percent."""
        return accuracy(self.predict(features), y)
