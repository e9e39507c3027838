# One epoch on clean images after the noisy training of smooth_noise_0.25.py; minutes on two CPU cores. Its result,
# zoo:cifar10/resnet8, is the network the table of corruptions is measured on.
_base_ = [
    "../_base_/data/cifar10.py",
    "../_base_/schedules/onecycle_15e.py",
    "../_base_/runtime/cpu.py",
]

student = dict(name="resnet8", checkpoint="zoo:cifar10/resnet8-noise-0.25")
losses = [dict(type="CrossEntropy")]
epochs = 1
optimizer = dict(lr=0.1)
runtime = dict(precision="fp32")
