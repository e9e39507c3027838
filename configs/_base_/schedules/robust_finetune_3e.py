# Fine-tuning a robust network to more norms (E-AT, ICML 2022; RAMP): a tenth of the learning rate after each third.
epochs = 3
batch_size = 128
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, decay_all=False)
schedule = dict(type="MultiStep", milestones=[1, 2], gamma=0.1)
