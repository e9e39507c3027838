# wrn_40_2-wrn_40_1, uskd: no published number of this recipe; teacher 75.61.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "wrn_40_1"
losses = [
    dict(type="CrossEntropy"),
    dict(type="USKD", alpha=0.1, beta=0.1, mu=0.1),
]
