# resnet56 without a teacher: published 72.34.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet56"
losses = [dict(type="CrossEntropy")]
