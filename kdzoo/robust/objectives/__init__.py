"""Objectives: losses that run the networks themselves, because they make images of their own to show them.

Adversarial training, RAMP, robust distillation and the training of base classifiers for smoothing are written so.
An objective stands in a config's ``losses`` like any loss and is an ``nn.Module`` registered in
``kdzoo.registry.OBJECTIVES``, called as

    ``objective(student, teacher, images, target) -> (scalar, logits [B, K])``

with the networks (images [B, C, H, W] in [0, 1] -> logits; ``teacher`` is frozen, or ``None``) and the batch as
augmented. ``runs_networks = True`` marks it; ``needs_teacher`` and ``set_epoch(epoch)`` mean what they mean for losses.
The logits are those the training accuracy is counted on. The student comes in training mode; an attack inside has to
switch it to evaluation and back. Autocast is as the run set it; the loss itself belongs in float32.
"""

from kdzoo.robust.objectives.key_pair import key_pair, measure_key_pair

__all__ = ["key_pair", "measure_key_pair"]
