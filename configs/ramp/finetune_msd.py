# MSD, fine-tuned. Published: 82.2 clean, 44.9 Linf, 67.1 L2, 47.2 L1, 42.6 union.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="MSD")]
