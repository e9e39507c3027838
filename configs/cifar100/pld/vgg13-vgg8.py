# vgg13-vgg8, pld: no published number of this recipe; teacher 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/adamw_250e.py", "../../_base_/runtime/default.py"]

pair = "vgg13-vgg8"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/vgg13_cifar/last.safetensors")
losses = [
    dict(type="PLD", temperature=4.0),
]
