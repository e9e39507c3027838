# resnet50-mobilenetv2, ctkd_ls: published 69.36; teacher 79.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet50-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet50_cifar/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy", weight=0.1),
    dict(type="CTKD", standardize=True, weight=9.0),
]
