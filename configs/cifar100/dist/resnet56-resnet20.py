# resnet56-resnet20, dist: published 71.75; teacher 72.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet56-resnet20"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet56/last.safetensors")
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
