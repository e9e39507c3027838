# ResNet-34 to ResNet-18, KD: published 71.03 (mdistiller).
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "resnet18"
teacher = dict(name="resnet34.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy", weight=0.5),
    dict(type="KD", temperature=1.0, weight=0.5),
]
