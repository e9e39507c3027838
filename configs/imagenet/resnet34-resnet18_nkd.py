# ResNet-34 to ResNet-18, NKD: published 71.96.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "resnet18"
teacher = dict(name="resnet34.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy"),
    dict(type="NKD", gamma=1.5, temperature=1.0),
]
