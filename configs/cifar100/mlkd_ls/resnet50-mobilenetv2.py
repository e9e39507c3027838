# resnet50-mobilenetv2, mlkd_ls: published 71.19; teacher 79.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_480e.py", "../../_base_/runtime/default.py"]

pair = "resnet50-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet50_cifar/last.safetensors")
augment_second = [dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="RandAugment", n=2, magnitude=10)]
losses = [
    dict(type="CrossEntropy"),
    dict(type="CrossEntropy", view="second"),
    dict(type="MLKD", temperature=3.0, standardize=True, weight=9.0),
]
