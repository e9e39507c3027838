"""What the hyperspherical heads share: cosines between unit features and unit class weights, and new classes."""

import torch
from torch import Tensor, nn

from kdzoo.heads.checks import check_features, check_labels, check_sizes
from kdzoo.kernels.dispatch import fused, has_fused

# Below this norm a feature has no direction to speak of: it keeps its value but passes no gradient on.
NORM_FLOOR = 1e-6


def unit(x: Tensor) -> Tensor:
    """[N, D] with rows of length 1; a row of zeros stays one, and has no gradient."""
    norm = x.square().sum(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
    return torch.where(norm < NORM_FLOOR, (x / norm.clamp_min(NORM_FLOOR)).detach(), x / norm)


class CosineHead(nn.Module):
    """Logits that are cosines times a scale, always in float32 or wider; no bias.

    Args:
        in_features: D.
        num_classes: K.
        centre: take each feature vector's mean over its D entries off before it is scaled to length 1, which together
            is a layer norm without parameters. Features behind a ReLU are all positive and so share a direction,
            beside which the classes' own are small; it decides for every class that ``add_class`` adds.
    """

    def __init__(self, in_features: int, num_classes: int, centre: bool = False):
        super().__init__()
        check_sizes(in_features, num_classes)
        self.in_features, self.centre = in_features, centre
        self.weight = nn.Parameter(torch.randn(num_classes, in_features))  # only the directions count

    @property
    def num_classes(self) -> int:
        return self.weight.shape[0]

    def settings(self) -> dict[str, float]:
        """What the logits depend on beside the weights: files of weights keep it."""
        return dict(centre=self.centre)

    def embed(self, features: Tensor) -> Tensor:
        """Features [B, D] to unit embeddings [B, D], what this head compares."""
        features = check_features(features, self.in_features)
        return unit(features - features.mean(dim=1, keepdim=True) if self.centre else features)

    def cosine(self, features: Tensor) -> Tensor:
        """Features [B, D] to cosines [B, K]."""
        # In bfloat16 a cosine has three digits, which a scale of 64 would make an error of half a nat.
        with torch.autocast(features.device.type, enabled=False):
            embeddings = self.embed(features)
            dtype = torch.promote_types(embeddings.dtype, self.weight.dtype)
            return embeddings.to(dtype) @ unit(self.weight.to(dtype)).T

    @torch.no_grad()
    def add_class(self, embeddings: Tensor) -> int:
        """A new class without training: its weight is the mean of the embeddings' directions.

        A mean has larger cosines with every image than a trained weight has, the more so the weaker the network.
        Where that loses the old classes to the new one, let all compete as means: :meth:`imprint`.

        Args:
            embeddings: [N, D], features of examples of the new class, N >= 1.

        Returns:
            The class's index, the last column of the logits from now on. The weight is a new parameter then: an
            optimizer that is to train it has to be built anew.

        Raises:
            ValueError: a wrong shape, no example, NaN, or directions that cancel out.

        Example:
            >>> index = head.add_class(model.outputs(images).pooled)
        """
        mean = self._mean(embeddings)
        self._replace(torch.cat([self.weight.detach(), mean[None].to(self.weight)]))
        return self.num_classes - 1

    @torch.no_grad()
    def imprint(self, embeddings: Tensor, labels: Tensor) -> None:
        """Make every class's weight the mean of its examples' directions, old and new classes alike.

        The head then decides by the nearest class mean; what training told its weights is gone.

        Args:
            embeddings: [N, D], features of examples of all classes.
            labels: [N], class indices from 0, each class at least once; those from ``num_classes`` on are new.

        Raises:
            ValueError: a wrong shape, a class without example, NaN, or directions that cancel out.

        Example:
            >>> head.imprint(model.outputs(images).pooled, labels)
        """
        if labels.shape != embeddings.shape[:1] or labels.is_floating_point() or not len(labels):
            got = f"{labels.dtype} {list(labels.shape)} for {list(embeddings.shape)}"
            raise ValueError(f"labels must be class indices, one for each row of embeddings, got {got}")
        classes = max(self.num_classes, int(labels.max()) + 1)
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing or int(labels.min()) < 0:
            raise ValueError(f"labels must hold each of the classes 0 to {classes - 1}, got none of {missing[:5]}")
        means = [self._mean(embeddings[labels == k]) for k in range(classes)]
        self._replace(torch.stack(means).to(self.weight))

    def _mean(self, embeddings: Tensor) -> Tensor:
        """[D], the mean direction of examples [N, D]."""
        embeddings = check_features(embeddings, self.in_features, "embeddings")
        if not len(embeddings):
            raise ValueError("embeddings has no row; pass at least one example of the new class")
        mean = self.embed(embeddings).mean(dim=0)
        if mean.isnan().any():  # features on a GPU are not looked at, and a class is added once
            raise ValueError("embeddings must be numbers, got NaN")
        if mean.norm() < NORM_FLOOR:
            raise ValueError("embeddings point nowhere on average (zeros, or opposites); pass others")
        return mean

    def _replace(self, weight: Tensor) -> None:
        """A frozen head stays frozen."""
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)


class MarginHead(CosineHead):
    """A cosine head that trains with a margin between the label's class and the others and decides without it.

    Args:
        in_features, num_classes: D and K.
        scale: s, by which cosines are multiplied.
        centre: see :class:`CosineHead`.
    """

    def __init__(self, in_features: int, num_classes: int, scale: float, centre: bool = False):
        super().__init__(in_features, num_classes, centre)
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be above 0 and finite, got {scale}")
        self.scale = scale

    def settings(self) -> dict[str, float]:
        return super().settings() | dict(scale=float(self.scale))

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to s * cosine [B, K], without the margin."""
        return self.scale * self.cosine(features)

    @property
    def kernel(self) -> tuple[str, float]:
        """The kind and the size of the margin, as the fused loss ``margin_softmax`` calls them."""
        raise NotImplementedError

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The label's cosine [B] to what training sees in its place."""
        raise NotImplementedError

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with the margin on the label's class.

        Args:
            logits: this head's, [B, K].
            target: class indices [B].
        """
        target = check_labels(target, logits)
        if has_fused("margin_softmax", logits):
            kind, margin = self.kernel
            options = dict(scale=self.scale, margin=margin, kind=kind)
            loss = fused("margin_softmax", "auto", logits / self.scale, None, target, "mean", **options)
            if loss is not None:
                return loss
        target = target[:, None]
        cosine = logits.gather(1, target) / self.scale  # [B, 1]
        logits = logits.scatter(1, target, self.scale * self.with_margin(cosine))
        return nn.functional.cross_entropy(logits, target.squeeze(1))
