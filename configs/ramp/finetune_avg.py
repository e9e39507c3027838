# AVG, fine-tuned. Published: 84.2 clean, 43.3 Linf, 68.4 L2, 46.9 L1, 40.6 union.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="AVG")]
