# wrn_40_2-wrn_16_2, dist: no published number of this recipe; teacher 75.61.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "wrn_40_2-wrn_16_2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/wrn_40_2/last.safetensors")
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
