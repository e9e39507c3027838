# PreActResNet-18 with softplus from scratch on CIFAR-10. The full recipes take a GPU.
_base_ = ["../data/cifar10.py", "../schedules/robust_80e.py", "../runtime/default.py"]
student = dict(name="preact_resnet18", options=dict(activation="softplus"), checkpoint=None)
