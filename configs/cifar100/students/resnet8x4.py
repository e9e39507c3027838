# resnet8x4 without a teacher: published 72.50.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet8x4"
losses = [dict(type="CrossEntropy")]
