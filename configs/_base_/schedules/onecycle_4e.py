# A short recipe that fits two CPU cores.
epochs = 4
batch_size = 128
optimizer = dict(type="SGD", lr=0.2, momentum=0.9, weight_decay=5e-4, nesterov=True)
schedule = dict(type="OneCycle", peak=0.3)
