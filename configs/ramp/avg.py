# AVG from scratch. Published: 84.6 clean, 40.8 Linf, 68.4 L2, 52.1 L1, 40.1 union.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="AVG")]
