# wrn_40_2-shufflenetv1, dkd_ls: no published number of this recipe; teacher 75.61.
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]

pair = "wrn_40_2-shufflenetv1"
teacher = dict(checkpoint="work_dirs/cifar100/teachers/wrn_40_2/last.safetensors")
optimizer = dict(lr=0.01)
losses = [
    dict(type="CrossEntropy"),
    dict(type="DKD", alpha=9.0, beta=72.0, temperature=2.0, standardize=True, warmup_epochs=20),
]
