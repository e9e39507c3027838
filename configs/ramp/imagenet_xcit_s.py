# RAMP, one epoch of fine-tuning on ImageNet from RobustBench's XCiT-S12 (pip install robustbench). Published
# union: 29.1.
_base_ = ["imagenet_resnet50.py"]
student = dict(name="robustbench:imagenet/Linf/Debenedetti2022Light_XCiT-S12")
optimizer = dict(lr=1e-4)
