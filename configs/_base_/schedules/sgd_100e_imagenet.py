# The usual ImageNet distillation recipe (mdistiller, torchdistill, mmrazor).
epochs = 100
batch_size = 512
optimizer = dict(type="SGD", lr=0.2, momentum=0.9, weight_decay=1e-4)
schedule = dict(type="MultiStep", milestones=[30, 60, 90], gamma=0.1)
