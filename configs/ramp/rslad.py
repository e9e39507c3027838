# RSLAD: the teacher's soft labels in the attack and in the loss; 300 epochs as published.
_base_ = ["../_base_/robust/distill.py"]
losses = [dict(type="RSLAD")]
epochs = 300
schedule = dict(milestones=[215, 260, 285])
