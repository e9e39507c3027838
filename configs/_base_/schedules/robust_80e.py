# Adversarial training from scratch on CIFAR (RAMP, NeurIPS 2024): a tenth of the learning rate after epoch 70.
epochs = 80
batch_size = 128
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, decay_all=False)
schedule = dict(type="MultiStep", milestones=[70], gamma=0.1)
