# Distil a teacher that was trained with noise into a smaller base classifier: both see the same noisy images.
_base_ = ["../_base_/data/cifar10.py", "../_base_/schedules/onecycle_4e.py", "../_base_/runtime/cpu.py"]

student = "resnet8"
teacher = dict(name="resnet20", checkpoint="run:teacher")
augment = [dict(type="PadCrop", padding=4), dict(type="Flip"), dict(type="GaussianNoise", sigma=0.25)]
runtime = dict(precision="fp32")
runs = [
    dict(name="teacher", student="resnet20", teacher=None, losses=[dict(type="CrossEntropy")]),
    dict(name="kd", losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=4.0, weight=0.9)]),
]
