# A teacher, a student alone and a distilled student on 200 of scikit-learn's digits: no download.
_base_ = ["_base_/data/digits.py", "_base_/runtime/default.py"]

seeds = [0, 1, 2]
data = dict(train_limit=200)  # where data is scarce, a teacher's answers tell more than the labels
epochs = 80
batch_size = 32
schedule = dict(type="Cosine")
runtime = dict(evaluate_every=10)

# A small GRU that reads the image row by row; on its own it has to find out what a convolutional teacher knows.
student = dict(name="gru_rows", options=dict(img_size=8, hidden=64, drop_rate=0.0))
optimizer = dict(type="AdamW", lr=0.003, weight_decay=0.01)
runs = [
    dict(
        name="teacher",
        student=dict(_delete_=True, name="resnet20"),
        epochs=50,
        optimizer=dict(_delete_=True, type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4),
        losses=[dict(type="CrossEntropy")],
    ),
    dict(name="alone", losses=[dict(type="CrossEntropy")]),
    dict(
        name="distilled",
        teacher=dict(name="resnet20", checkpoint="run:teacher"),
        runtime=dict(teacher_cache=True),  # a digit has nine views, so the teacher answers once and is remembered
        losses=[
            dict(type="CrossEntropy", weight=0.1),
            dict(type="KD", temperature=2.0, standardize=True, weight=9.0),
        ],
    ),
]
