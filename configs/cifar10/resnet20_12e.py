# A clean CIFAR-10 network in half an hour of two CPU cores without bfloat16. Its result, zoo:cifar10/resnet20-12e, is
# the network the out-of-distribution table is measured on.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_15e.py", "../_base_/runtime/cpu.py"]

student = "resnet20"
losses = [dict(type="CrossEntropy")]
epochs = 12
runtime = dict(precision="fp32")
