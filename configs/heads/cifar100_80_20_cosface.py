# The same split and recipe with a margin; a scale for 80 classes, not the 64 of faces.
_base_ = ["cifar100_80_20_normalized.py"]

head = dict(_delete_=True, type="CosFaceHead", scale=16.0, margin=0.2, centre=True)
