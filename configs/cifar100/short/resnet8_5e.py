# A student of the zoo's teacher as in study_5e.py; the losses of zoo:cifar100/resnet8-5e-lskd.
_base_ = "resnet20_5e.py"

runtime = dict(teacher_cache=True)
student = "resnet8"
teacher = dict(name="resnet20", checkpoint="zoo:cifar100/resnet20-5e")
losses = [dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, standardize=True, weight=9.0)]
