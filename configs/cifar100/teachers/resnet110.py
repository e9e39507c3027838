# resnet110 without a teacher: published 74.31.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet110"
losses = [dict(type="CrossEntropy")]
