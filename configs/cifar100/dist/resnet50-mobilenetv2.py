# resnet50-mobilenetv2, dist: published 68.66; teacher 79.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet50-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet50_cifar/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
