# ResNet-34 to ResNet-18, DIST: published 72.07.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "resnet18"
teacher = dict(name="resnet34.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DIST", beta=1.0, gamma=1.0, temperature=1.0, weight=2.0),
]
