# ResNet-34 to ResNet-18, KD with standardized logits: published 71.42.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "resnet18"
teacher = dict(name="resnet34.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy"),
    dict(type="KD", temperature=2.0, standardize=True, weight=9.0),
]
