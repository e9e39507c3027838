# E-AT, fine-tuned. Published: 82.7 clean, 44.3 Linf, 68.1 L2, 48.7 L1, 42.2 union.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="E-AT")]
