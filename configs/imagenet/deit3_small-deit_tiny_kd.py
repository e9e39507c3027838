# DeiT III-S to DeiT-T, KD.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/adamw_300e_deit.py", "../_base_/runtime/default.py"]

student = "deit_tiny_patch16_224"
teacher = dict(name="deit3_small_patch16_224.fb_in1k", pretrained=True)
augment = [
    dict(type="RandomResizedCrop"),
    dict(type="Flip"),
    dict(type="RandAugment", n=2, magnitude=9),
    dict(type="CutMix", alpha=1.0),
]
losses = [
    dict(type="CrossEntropy", weight=0.5),
    dict(type="KD", temperature=1.0, weight=0.5),
]
