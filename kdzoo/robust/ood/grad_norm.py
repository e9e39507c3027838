"""GradNorm (Huang, Geng and Li, NeurIPS 2021), in closed form."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import ClassifierDetector


@DETECTORS.register()
class GradNorm(ClassifierDetector):
    """L1 norm of the gradient, by the classifier's weight, of the cross entropy against all classes at once.

    With z the feature and p the softmax of C classes, the gradient of sum_c -log p_c is (C p - 1) z^T, so its
    norm is sum_c |C p_c - 1| times |z|_1: no backward pass, no loop over samples.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        weight, bias: of the classifier, in place of a model.

    Example:
        >>> GradNorm(weight=torch.randn(10, 64)).score_features(torch.rand(2, 64)).shape
        torch.Size([2])
    """

    def _score(self, x: Tensor) -> Tensor:
        p = self.logits(x).double().softmax(dim=1)
        return (p * p.shape[1] - 1).abs().sum(dim=1) * x.double().abs().sum(dim=1)
