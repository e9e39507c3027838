# resnet56-resnet20, pld: no published number of this recipe; teacher 72.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/adamw_250e.py", "../../_base_/runtime/default.py"]

pair = "resnet56-resnet20"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet56/last.safetensors")
losses = [
    dict(type="PLD", temperature=4.0),
]
