# Consistency regularisation at sigma 0.25, with the paper's two noisy copies.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
losses = [dict(type="Consistency", sigma=0.25)]
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
runtime = dict(precision="fp32")
