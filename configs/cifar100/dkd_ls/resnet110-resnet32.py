# resnet110-resnet32, dkd_ls: published 74.29; teacher 74.31.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet110-resnet32"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet110/last.safetensors")
losses = [
    dict(type="CrossEntropy"),
    dict(type="DKD", alpha=9.0, beta=18.0, temperature=2.0, standardize=True, warmup_epochs=20),
]
