# Three more epochs of plain adversarial training in Linf: what fine-tuning costs without other norms.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="AdversarialTraining", norm="Linf")]
