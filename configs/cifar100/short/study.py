# A study that fits two CPU cores: a resnet20 teacher, and resnet8 students of it.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/onecycle_15e.py", "../../_base_/runtime/cpu.py"]

runtime = dict(teacher_cache=True)  # 1.6 GB of disk; the second student finds the teacher's answers there
student = "resnet8"
runs = [
    dict(name="teacher", student="resnet20", losses=[dict(type="CrossEntropy")]),
    dict(name="alone", losses=[dict(type="CrossEntropy")]),
    dict(
        name="kd",
        teacher=dict(name="resnet20", checkpoint="run:teacher"),
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=4.0, weight=0.9)],
    ),
    dict(
        name="lskd",
        teacher=dict(name="resnet20", checkpoint="run:teacher"),
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, standardize=True, weight=9.0)],
    ),
]
