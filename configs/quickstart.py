# A teacher, a student alone and a distilled student on 200 of scikit-learn's digits: no download, about a minute.
_base_ = ["_base_/data/digits.py", "_base_/runtime/default.py"]

seeds = [0, 1, 2]
data = dict(train_limit=200)  # where data is scarce, a teacher's soft answers tell more than the labels
epochs = 60
batch_size = 32
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Cosine")
runtime = dict(evaluate_every=5)

student = dict(name="resnet8", options=dict(widths=(4, 4, 8, 16)))  # 5 thousand parameters
runs = [
    dict(
        name="teacher",
        student=dict(name="resnet20", options=dict(widths=(32, 32, 64, 128))),  # 1.1 million
        losses=[dict(type="CrossEntropy")],
    ),
    dict(name="alone", losses=[dict(type="CrossEntropy")]),
    dict(
        name="distilled",
        teacher=dict(name="resnet20", options=dict(widths=(32, 32, 64, 128)), checkpoint="run:teacher"),
        losses=[dict(type="KD", temperature=4.0)],
    ),
]
