# ResNet-50 to MobileNet, KD: published 70.50 (mdistiller).
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "mobilenetv1_100"
teacher = dict(name="resnet50.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy", weight=0.5),
    dict(type="KD", temperature=1.0, weight=0.5),
]
