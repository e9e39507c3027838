# resnet32x4 without a teacher: published 79.42.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet32x4"
losses = [dict(type="CrossEntropy")]
