# Plain adversarial training in L1; with at_linf.py and at_l2.py what key_pair is measured on.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="AdversarialTraining", norm="L1")]
