# SAT from scratch. Published: 83.9 clean, 40.7 Linf, 68.0 L2, 54.0 L1, 40.4 union.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="SAT")]
