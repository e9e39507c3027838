# 80 classes of CIFAR-100 drawn with seed 0 to train on, 20 kept back for tools/novel.py; a short recipe for two cores.
_base_ = ["../_base_/schedules/onecycle_15e.py", "../_base_/runtime/default.py"]

data = dict(type="ClassSplit", source=dict(type="CIFAR100"), seen=80, seed=0)
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
student = "resnet8"
head = dict(type="NormalizedSoftmaxHead", temperature=0.05, centre=True)
losses = [dict(type="HeadLoss")]
epochs = 5
