# wrn_40_2 without a teacher: published 75.61.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "wrn_40_2"
losses = [dict(type="CrossEntropy")]
