# resnet50_cifar without a teacher: published 79.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet50_cifar"
losses = [dict(type="CrossEntropy")]
