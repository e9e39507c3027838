# The distilled student of the quick start, taught by the zoo's teacher; zoo:digits/gru_rows is its seed 0.
_base_ = ["../_base_/data/digits.py", "../_base_/runtime/default.py"]

data = dict(train_limit=200)
student = dict(name="gru_rows", options=dict(img_size=8, hidden=64, drop_rate=0.0))
teacher = dict(name="resnet20", checkpoint="zoo:digits/resnet20")
losses = [
    dict(type="CrossEntropy", weight=0.1),
    dict(type="KD", temperature=2.0, standardize=True, weight=9.0),
]
epochs = 80
batch_size = 32
optimizer = dict(type="AdamW", lr=0.003, weight_decay=0.01)
schedule = dict(type="Cosine")
runtime = dict(evaluate_every=10, teacher_cache=True)
