# resnet32x4-wrn_16_2, dist: no published number of this recipe; teacher 79.42.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "resnet32x4-wrn_16_2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/resnet32x4/last.safetensors")
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
