# vgg13-mobilenetv2, crd: published 69.73; teacher 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "vgg13-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/vgg13_cifar/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="CRD", weight=0.8),
]
