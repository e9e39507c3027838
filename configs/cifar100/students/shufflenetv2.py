# shufflenetv2 without a teacher: published 71.82.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "shufflenetv2"
optimizer = dict(lr=0.01)
losses = [dict(type="CrossEntropy")]
