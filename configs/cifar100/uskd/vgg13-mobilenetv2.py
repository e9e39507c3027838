# vgg13-mobilenetv2, uskd: no published number of this recipe; teacher 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "mobilenetv2_half"
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="USKD", alpha=0.1, beta=0.1, mu=0.1),
]
