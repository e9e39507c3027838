# TRADES in Linf.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="TRADES", beta=6.0)]
