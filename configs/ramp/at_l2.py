# Plain adversarial training in L2; with at_linf.py and at_l1.py what key_pair is measured on.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="AdversarialTraining", norm="L2")]
