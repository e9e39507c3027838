# A study that fits two CPU cores: a resnet20 teacher, and resnet8 students of it, one a loss.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/onecycle_15e.py", "../../_base_/runtime/cpu.py"]

runtime = dict(teacher_cache=True)  # 1.6 GB of disk; every student after the first finds the teacher's answers there
student = "resnet8"
teacher = dict(name="resnet20", checkpoint="run:teacher")
runs = [
    dict(name="teacher", student="resnet20", teacher=None, losses=[dict(type="CrossEntropy")]),
    dict(name="alone", teacher=None, losses=[dict(type="CrossEntropy")]),
    dict(
        name="kd",
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=4.0, weight=0.9)],
    ),
    dict(
        name="lskd",
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, standardize=True, weight=9.0)],
    ),
    dict(name="nkd", losses=[dict(type="CrossEntropy"), dict(type="NKD", gamma=3.5, temperature=3.0)]),
    dict(name="uskd", teacher=None, losses=[dict(type="CrossEntropy"), dict(type="USKD", alpha=0.1, beta=0.1, mu=0.1)]),
    dict(
        name="dhkd",
        align_gradients=True,
        losses=[dict(type="CrossEntropy"), dict(type="BinaryKLNorm", temperature=2.0, head="nonlinear")],
    ),
    dict(name="pld", losses=[dict(type="PLD", temperature=4.0)]),
    # The literature warms DKD up for 20 of 240 epochs.
    dict(
        name="dkd",
        losses=[dict(type="CrossEntropy"), dict(type="DKD", beta=2.0, temperature=4.0, warmup_epochs=1)],
    ),
    dict(name="dist", losses=[dict(type="CrossEntropy"), dict(type="DIST", temperature=4.0, weight=2.0)]),
]
