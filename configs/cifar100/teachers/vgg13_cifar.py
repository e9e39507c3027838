# vgg13_cifar without a teacher: published 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "vgg13_cifar"
losses = [dict(type="CrossEntropy")]
