# The study's start alone: a quarter-size resnet8, adversarially trained in Linf with two attack steps.
_base_ = ["../../_base_/data/cifar10.py", "../../_base_/schedules/onecycle_4e.py", "../../_base_/runtime/cpu.py"]

student = dict(name="resnet8", options=dict(widths=(8, 8, 16, 32)))
runtime = dict(precision="fp32")
losses = [dict(type="AdversarialTraining", norm="Linf", steps=2)]
