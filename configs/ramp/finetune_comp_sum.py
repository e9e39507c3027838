# The smooth adversarial comp-sum loss in Linf, fine-tuned.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="AdversarialCompSum", tau=1.0, nu=1.0)]
