# TRADES in Linf, fine-tuned.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="TRADES", beta=6.0)]
