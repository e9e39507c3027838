# ResNet-50 to MobileNet, DKD: published 72.05.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "mobilenetv1_100"
teacher = dict(name="resnet50.tv_in1k", pretrained=True)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DKD", beta=2.0, temperature=1.0, warmup_epochs=1),
]
