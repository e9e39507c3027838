# wrn_16_2 without a teacher: published 73.26.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "wrn_16_2"
losses = [dict(type="CrossEntropy")]
