# The recipe of multi-level logit distillation: twice the epochs, the milestones where they were.
epochs = 480
batch_size = 64
optimizer = dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="MultiStep", milestones=[150, 180, 210], gamma=0.1)
