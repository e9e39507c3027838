# resnet56-resnet20, uskd: no published number of this recipe; teacher 72.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet20"
losses = [
    dict(type="CrossEntropy"),
    dict(type="USKD", alpha=0.1, beta=0.1, mu=0.1),
]
