# resnet20 without a teacher: published 69.06.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet20"
losses = [dict(type="CrossEntropy")]
