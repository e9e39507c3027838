# Distil the smoothed form of a teacher that was trained with noise: two noisy copies, the same for both networks.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
teacher = dict(name="resnet20", checkpoint="run:teacher")
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
runtime = dict(precision="fp32")
runs = [
    dict(
        name="teacher",
        student="resnet20",
        teacher=None,
        losses=[dict(type="CrossEntropy")],
        augment=[dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="GaussianNoise", sigma=0.25)],
    ),
    dict(name="student", losses=[dict(type="SmoothTeacher", sigma=0.25)]),
]
