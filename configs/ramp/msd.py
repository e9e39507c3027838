# MSD from scratch. Published: 81.1 clean, 44.9 Linf, 65.9 L2, 49.5 L1, 43.9 union.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="MSD")]
