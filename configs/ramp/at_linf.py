# Plain adversarial training in Linf, the start of the fine-tuning configs. Published under AutoAttack: 83.7 clean,
# 48.1 Linf, 59.8 L2, 7.7 L1.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="AdversarialTraining", norm="Linf")]
