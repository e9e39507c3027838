# MACER at sigma 0.25, with fewer noisy copies than the paper's 16: a step costs as many plain ones.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
losses = [dict(type="MACER", sigma=0.25, copies=4)]
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
runtime = dict(precision="fp32")
