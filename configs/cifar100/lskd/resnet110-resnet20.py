# resnet110-resnet20, lskd: published 71.48; teacher 74.31.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet110-resnet20"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet110/last.safetensors")
losses = [
    dict(type="CrossEntropy", weight=0.1),
    dict(type="KD", temperature=4.0, standardize=True, weight=12.0),
]
