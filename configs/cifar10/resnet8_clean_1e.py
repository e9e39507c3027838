# One epoch on clean images after the noisy training of smooth_noise_0.25.py; minutes on two CPU cores. The network
# the out-of-distribution table is measured on:
#     python tools/train.py configs/cifar10/resnet8_clean_1e.py --cfg-options student.checkpoint=RUN/last.safetensors
_base_ = [
    "../_base_/data/cifar10.py",
    "../_base_/schedules/onecycle_15e.py",
    "../_base_/runtime/cpu.py",
]

student = dict(name="resnet8", checkpoint=None)
losses = [dict(type="CrossEntropy")]
epochs = 1
optimizer = dict(lr=0.1)
runtime = dict(precision="fp32")
