# The recipe of RepDistiller, mdistiller and their successors for CIFAR-100.
epochs = 240
batch_size = 64
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="MultiStep", milestones=[150, 180, 210], gamma=0.1)
