# The teacher of the quick start alone, on 200 digits; zoo:digits/resnet20 is its seed 0.
_base_ = ["../_base_/data/digits.py", "../_base_/runtime/default.py"]

data = dict(train_limit=200)
student = "resnet20"
losses = [dict(type="CrossEntropy")]
epochs = 50
batch_size = 32
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Cosine")
runtime = dict(evaluate_every=10)
