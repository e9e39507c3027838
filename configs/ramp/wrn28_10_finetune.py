# RAMP, fine-tuned from RobustBench's WRN-28-10 of Carmon et al. (pip install robustbench). Published union: 52.7.
_base_ = ["../_base_/robust/finetune.py"]
student = dict(_delete_=True, name="robustbench:cifar10/Linf/Carmon2019Unlabeled", pretrained=True)
losses = [dict(type="RAMP", lambda_=0.5)]
optimizer = dict(lr=0.01)
