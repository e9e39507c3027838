# SmoothAdv at sigma 0.25, with fewer attack steps than the paper's 10: a step costs steps + 1 plain ones.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
losses = [dict(type="SmoothAdv", sigma=0.25, steps=2)]
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
runtime = dict(precision="fp32")
