# A small base classifier of randomized smoothing at sigma 0.25, in a recipe that fits two CPU cores.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
losses = [dict(type="CrossEntropy")]
augment = [dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="GaussianNoise", sigma=0.25)]
runtime = dict(precision="fp32")
