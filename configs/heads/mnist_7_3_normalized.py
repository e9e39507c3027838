# Digits 0 to 6 to train on, 7 to 9 kept back for tools/novel.py; 7,000 images and 2 epochs take a CPU a minute.
_base_ = ["../_base_/runtime/default.py"]

data = dict(type="ClassSplit", source=dict(type="MNIST"), seen=7, train_limit=7000)
augment = [dict(type="PadCrop", padding=2)]
student = "resnet8"
head = dict(type="NormalizedSoftmaxHead", temperature=0.05, centre=True)
losses = [dict(type="HeadLoss")]
epochs = 2
batch_size = 128
optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
schedule = dict(type="OneCycle", peak=0.3)
runtime = dict(evaluate_every=2)
