# The study in 5 epochs of float32, for processors without bfloat16: a third of the time, and what it leaves out.
_base_ = "study.py"

epochs = 5
runtime = dict(precision="fp32")
runs = [
    dict(name="teacher", student="resnet20", teacher=None, losses=[dict(type="CrossEntropy")]),
    dict(name="alone", teacher=None, losses=[dict(type="CrossEntropy")]),
    dict(
        name="dkd",
        losses=[dict(type="CrossEntropy"), dict(type="DKD", beta=2.0, temperature=4.0, warmup_epochs=1)],
    ),
    dict(name="dist", losses=[dict(type="CrossEntropy"), dict(type="DIST", temperature=4.0, weight=2.0)]),
    dict(
        name="kd",
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=4.0, weight=0.9)],
    ),
    dict(
        name="nkd",
        losses=[dict(type="CrossEntropy"), dict(type="NKD", gamma=3.5, temperature=3.0)],
    ),
]
