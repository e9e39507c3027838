# PLD's recipe for CIFAR-100 (its numbers are not comparable with those of the 240-epoch recipe).
epochs = 250
batch_size = 128
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.5)
schedule = dict(type="Cosine")
