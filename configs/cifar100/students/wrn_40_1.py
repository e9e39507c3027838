# wrn_40_1 without a teacher: published 71.98.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "wrn_40_1"
losses = [dict(type="CrossEntropy")]
