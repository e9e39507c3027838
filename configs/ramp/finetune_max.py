# MAX, fine-tuned. Published: 82.2 clean, 45.2 Linf, 67.0 L2, 46.1 L1, 42.2 union.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="MAX")]
