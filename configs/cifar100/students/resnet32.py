# resnet32 without a teacher: published 71.14.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "resnet32"
losses = [dict(type="CrossEntropy")]
