# The teacher of study_5e.py alone; zoo:cifar100/resnet20-5e.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/onecycle_15e.py", "../../_base_/runtime/cpu.py"]

epochs = 5
runtime = dict(precision="fp32")
student = "resnet20"
losses = [dict(type="CrossEntropy")]
