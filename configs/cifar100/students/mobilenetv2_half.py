# mobilenetv2_half without a teacher: published 64.60.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

student = "mobilenetv2_half"
optimizer = dict(lr=0.01)
losses = [dict(type="CrossEntropy")]
