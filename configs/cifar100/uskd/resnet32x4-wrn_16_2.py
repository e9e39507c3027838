# resnet32x4-wrn_16_2, uskd: no published number of this recipe; teacher 79.42.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "wrn_16_2"
losses = [
    dict(type="CrossEntropy"),
    dict(type="USKD", alpha=0.1, beta=0.1, mu=0.1),
]
