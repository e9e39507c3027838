# shufflenetv1 without a teacher: published 70.50.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "shufflenetv1"
optimizer = dict(lr=0.01)
losses = [dict(type="CrossEntropy")]
