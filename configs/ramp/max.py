# MAX from scratch. Published: 80.4 clean, 45.7 Linf, 66.0 L2, 48.6 L1, 44.0 union.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="MAX")]
