# SAT, fine-tuned.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="SAT")]
