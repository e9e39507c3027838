# vgg8 without a teacher: published 70.36.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "vgg8"
losses = [dict(type="CrossEntropy")]
