# The same network from robust weights; make them with configs/ramp/at_linf.py and name them:
#     python tools/train.py CONFIG --cfg-options student.checkpoint=work_dirs/ramp/at_linf/last.safetensors
_base_ = ["../data/cifar10.py", "../schedules/robust_finetune_3e.py", "../runtime/default.py"]
student = dict(
    name="preact_resnet18",
    options=dict(activation="softplus"),
    checkpoint="work_dirs/ramp/at_linf/last.safetensors",
)
