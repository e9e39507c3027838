# A network that one CPU core trains in minutes: the one the out-of-distribution table is measured on.
_base_ = [
    "../_base_/data/cifar10.py",
    "../_base_/schedules/onecycle_15e.py",
    "../_base_/runtime/cpu.py",
]

student = "resnet8"
losses = [dict(type="CrossEntropy")]
epochs = 6
runtime = dict(precision="fp32")
