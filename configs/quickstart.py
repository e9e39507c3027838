# Teacher, student alone and student distilled, on scikit-learn's digits: no download, about a minute.
_base_ = ["_base_/data/digits.py", "_base_/runtime/default.py"]

seeds = [0, 1, 2]
epochs = 60
batch_size = 32
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Cosine")
student = "resnet8"
losses = [dict(type="CrossEntropy")]
