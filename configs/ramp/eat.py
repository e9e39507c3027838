# E-AT from scratch. Published: 82.2 clean, 42.7 Linf, 67.5 L2, 53.6 L1, 42.4 union.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="E-AT")]
