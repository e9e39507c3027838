# resnet32x4-wrn_40_2, mlkd: published 79.26; teacher 79.42.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_480e.py", "../../_base_/runtime/default.py"]

pair = "resnet32x4-wrn_40_2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet32x4/last.safetensors")
augment_second = [dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="RandAugment", n=2, magnitude=10)]
losses = [
    dict(type="CrossEntropy"),
    dict(type="CrossEntropy", view="second"),
    dict(type="MLKD", temperature=4.0),
]
