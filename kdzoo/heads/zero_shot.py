"""Zero-shot classifiers as weights on features: from CLIP's text encoder, or from class means."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.errors import UserError

Pair = tuple[Tensor | np.ndarray, Tensor | np.ndarray]
# Seven prompts in the spirit of CLIP's ensemble of seven (Radford et al., 2021); pass the data set's own for others.
TEMPLATES = (
    "a photo of a {}.", "a blurry photo of a {}.", "a bright photo of the {}.", "a drawing of a {}.",
    "a close-up of the {}.", "many {}.", "a photo of the small {}.",
)  # fmt: skip


def zero_shot_weights(
    class_names: Sequence[str],
    model: str = "RN50",
    pretrained: str = "openai",
    templates: Sequence[str | Callable[[str], str]] = TEMPLATES,
    device: str = "cpu",
) -> Tensor:
    """[D, K] unit columns: each class's mean unit text embedding over the prompts, scaled to length 1 again.

    Args:
        class_names: K names.
        model, pretrained: of open_clip (extra ``clip``); its weights are downloaded, or a path.
        templates: prompts with ``{}`` for the name.
        device: to encode on.

    Raises:
        UserError: open_clip is not installed, or its weights can't be had.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.

    Example:
        >>> weights = zero_shot_weights(["cat", "dog"], "ViT-B-32", "laion2b_s34b_b79k")
    """
    if not class_names or not templates:
        raise ValueError("class_names and templates must hold at least one entry each")
    try:
        import open_clip
    except ImportError:
        raise UserError("zero-shot text weights need open_clip; pip install 'kdzoo[clip]'") from None
    try:
        clip = open_clip.create_model(model, pretrained=pretrained, device=device).eval()
        tokenize = open_clip.get_tokenizer(model)
    except Exception as error:  # of a hub, a download or a name: its own first line says which
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"open_clip can't build {model!r} with weights {pretrained!r} ({reason})") from error
    columns = []
    with torch.no_grad():
        for name in class_names:
            prompts = [t(name) if callable(t) else t.format(name) for t in templates]
            texts = unit_tensor(clip.encode_text(tokenize(prompts).to(device)), "text embeddings")
            columns.append(texts.mean(dim=0))
    return unit_tensor(torch.stack(columns), "text embeddings").T


def class_mean_weights(features: Tensor | np.ndarray, y: Tensor | np.ndarray, classes: int | None = None) -> Tensor:
    """[D, K] unit columns: mean unit features of each class, in the place of text where there is no text encoder.

    Args:
        features: [N, D]; y: [N] classes from 0, each at least once.
        classes: K; the largest class and one where ``None``.
    """
    features = unit_tensor(features, "features")
    member = one_hot(y, len(features), classes).to(features)  # [N, K]
    if (member.sum(0) == 0).any():
        raise ValueError(f"y has no sample of class {int((member.sum(0) == 0).nonzero()[0])}; every class needs one")
    return unit_tensor(member.T @ features, "class sums").T


def zero_shot_logits(features: Tensor, weights: Tensor, scale: float = 100.0) -> Tensor:
    """Unit features [B, D] and weights [D, K] to ``scale`` times their cosines [B, K]."""
    return scale * features @ weights


def unit_tensor(x: Tensor | np.ndarray, name: str) -> Tensor:
    """A new [N, D] tensor with rows of length 1; ValueError for another shape or NaN."""
    x = torch.as_tensor(x)
    if x.ndim != 2 or not x.is_floating_point():
        raise ValueError(f"{name} must be floating [N, D], got {x.dtype} {list(x.shape)}")
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


def one_hot(y: Tensor | np.ndarray, rows: int, classes: int | None = None) -> Tensor:
    """[N, K] int64 of classes [N]; ValueError unless they are ``rows`` whole numbers from 0 to K - 1."""
    y = torch.as_tensor(y)
    if y.shape != (rows,) or y.is_floating_point() or not rows or int(y.min()) < 0 or int(y.max()) >= (classes or 1e9):
        wanted = f"{rows} classes from 0" + (f" to {classes - 1}" if classes else "")
        held = f", {int(y.min())} to {int(y.max())}" if y.numel() and not y.is_floating_point() else ""
        raise ValueError(f"y must hold {wanted}, got {y.dtype} {list(y.shape)}{held}")
    return torch.nn.functional.one_hot(y.long(), classes or -1)


def check_text_weights(text_weights: Tensor | np.ndarray) -> Tensor:
    """A tensor; ValueError unless it is a floating, finite [D, K] with at least two classes."""
    weights = torch.as_tensor(text_weights)
    if weights.ndim != 2 or weights.shape[1] < 2 or not weights.is_floating_point() or not weights.isfinite().all():
        got = f"{weights.dtype} {list(weights.shape)}"
        raise ValueError(f"text_weights must be floating and finite [D, K] with K >= 2, got {got}")
    return weights


def check_pair(features: Pair, y: Tensor | np.ndarray | None, text_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both branches' unit features and the labels (or ``None``), checked against one another."""
    clip, aux = unit_tensor(features[0], "zero-shot features"), unit_tensor(features[1], "aux features")
    if len(clip) != len(aux):
        raise ValueError(f"both branches need the same samples, got {len(clip)} and {len(aux)}")
    if clip.shape[1] != text_weights.shape[0]:
        raise ValueError(f"text_weights is {list(text_weights.shape)}, expected [{clip.shape[1]}, K]")
    if y is not None:
        one_hot(y, len(clip), text_weights.shape[1])  # looks at every label
        y = torch.as_tensor(y).long()
    return clip, aux, y


def accuracy(predicted: np.ndarray, y: Tensor | np.ndarray) -> float:
    """Share of classes [B] that are the labels' [B], in percent; ValueError for another shape, e.g. a column."""
    y = np.asarray(torch.as_tensor(y).cpu())
    if y.shape != predicted.shape:
        raise ValueError(f"y must be labels {list(predicted.shape)}, one for each row of features, got {list(y.shape)}")
    return 100.0 * float((predicted == y).mean())
