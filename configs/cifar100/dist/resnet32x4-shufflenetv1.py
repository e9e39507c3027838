# resnet32x4-shufflenetv1, dist: published 76.34; teacher 79.42.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet32x4-shufflenetv1"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet32x4/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
