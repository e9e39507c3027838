"""What the CIFAR networks share: stages, global average pooling, one linear classifier, timm's interface."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

# The statistics every published CIFAR-100 teacher was trained with (RepDistiller, mdistiller).
CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR100_STD = (0.2675, 0.2565, 0.2761)


def cifar_cfg(**changes) -> dict:
    """timm's default_cfg of a network for 32-pixel colour images and 100 classes."""
    cfg = dict(
        num_classes=100, input_size=(3, 32, 32), mean=CIFAR100_MEAN, std=CIFAR100_STD,
        first_conv="conv1", classifier="fc",
    )
    return {**cfg, **changes}


def init_convs(network: nn.Module) -> None:
    """He initialisation (fan-out) of every convolution; biases zero. Batch norms already start at 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def linear_classifier(num_features: int, num_classes: int) -> nn.Module:
    """The classifier; ``num_classes=0`` leaves it out, as everywhere in timm."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


class StagedNet(nn.Module):
    """A network in stages, with the methods timm gives its own.

    A subclass builds its modules under the literature's names and says in ``stages``
    in which order they run.

    Args:
        num_classes: classes of the classifier; 0 for none.
        num_features: D, the width of the classifier's input.
    """

    classifier_name = "fc"

    def __init__(self, num_classes: int, num_features: int):
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, num_features, num_features

    def stages(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The stem and every stage, in order; each maps [B, D, H, W] to the next stage map."""
        raise NotImplementedError

    def final(self, x: Tensor) -> Tensor:
        """What stands between the last stage map and the pooling."""
        return x

    def pool(self, x: Tensor) -> Tensor:
        """[B, D, H, W] to the classifier's input [B, D]; any image size."""
        return x.mean((2, 3))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to the last map [B, D, h, w]."""
        for stage in self.stages():
            x = stage(x)
        return self.final(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map to logits [B, num_classes], or with ``pre_logits`` to the classifier's input [B, D]."""
        pooled = self.pool(x)
        return pooled if pre_logits else self.get_classifier()(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map (as ``forward_features``) and the stage maps, from the stem on.

        Args:
            x: images [B, C, H, W].
            indices: which maps; the last n if an int, all if None.
            stop_early: with ``intermediates_only``, run no stage beyond the last one asked for.
            output_fmt: only "NCHW".
            intermediates_only: return the list of maps alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is expected to be 'NCHW' but got {output_fmt!r}")
        stages = self.stages()
        wanted = range(len(stages))
        if isinstance(indices, int):
            wanted = wanted[-indices:]
        elif indices is not None:
            wanted = [wanted[k] for k in indices]
        if stop_early and intermediates_only:
            stages = stages[: max(wanted) + 1]
        maps = []
        for k, stage in enumerate(stages):
            x = stage(x)
            if k in wanted:
                maps.append(x)
        return maps if intermediates_only else (self.final(x), maps)

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return getattr(self, self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier for ``num_classes`` in place of the old one (0: none)."""
        if global_pool not in (None, "avg"):
            raise ValueError(f"global_pool is expected to be 'avg' but got {global_pool!r}")
        self.num_classes = num_classes
        fresh = linear_classifier(self.num_features, num_classes)
        setattr(self, self.classifier_name, fresh.to(next(self.parameters()).device))
