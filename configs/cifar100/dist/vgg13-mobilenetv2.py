# vgg13-mobilenetv2, dist: no published number of this recipe; teacher 74.64.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "vgg13-mobilenetv2"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/vgg13_cifar/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", temperature=4.0, weight=2.0),
]
