# vgg13-vgg8, dkd_ls: published 74.81; teacher 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "vgg13-vgg8"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/vgg13_cifar/last.safetensors")
losses = [
    dict(type="CrossEntropy"),
    dict(type="DKD", alpha=9.0, beta=54.0, temperature=3.0, standardize=True, warmup_epochs=20),
]
