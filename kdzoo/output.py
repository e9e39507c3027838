"""What a model hands to a Distiller and to the losses."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class ModelOutput:
    """One forward pass of a classifier.

    Args:
        logits: [B, C].
        features: stage maps, from the stem to the last stage, each [B, D, H, W]
            (or [B, N, D] for token models); empty where nobody asked for them.
        pooled: [B, D], the input of the classifier; ``None`` where nobody asked for it.
        aux_logits: [B, C] of an auxiliary head that is dropped at inference.
        index: [B] int64, the images' positions in the training set, for losses with a memory.
        second: the output for a second, more strongly augmented view of the same images; ``None``
            where there is one view.
    """

    logits: Tensor
    features: list[Tensor] = field(default_factory=list)
    pooled: Tensor | None = None
    aux_logits: Tensor | None = None
    index: Tensor | None = None
    second: "ModelOutput | None" = None
