# IAD: the student trusts its teacher where the attack does not fool it.
_base_ = ["../_base_/robust/distill.py"]
losses = [dict(type="IAD", beta=0.1, begin=60)]
