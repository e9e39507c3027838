# The smooth adversarial comp-sum loss in Linf.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="AdversarialCompSum", tau=1.0, nu=1.0)]
