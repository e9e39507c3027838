# resnet110-resnet20, mlkd_ls: published 72.27; teacher 74.31.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_480e.py", "../../_base_/runtime/default.py"]

pair = "resnet110-resnet20"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet110/last.safetensors")
augment_second = [dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="RandAugment", n=2, magnitude=10)]
losses = [
    dict(type="CrossEntropy"),
    dict(type="CrossEntropy", view="second"),
    dict(type="MLKD", temperature=4.0, standardize=True, weight=12.0),
]
