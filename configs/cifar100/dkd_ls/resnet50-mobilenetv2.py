# resnet50-mobilenetv2, dkd_ls: published 70.45; teacher 79.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet50-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet50_cifar/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DKD", alpha=9.0, beta=72.0, temperature=3.0, standardize=True, warmup_epochs=20),
]
