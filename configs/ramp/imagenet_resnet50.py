# RAMP, one epoch of fine-tuning on ImageNet from RobustBench's ResNet-50 (pip install robustbench). Published
# union: 20.9. The paper has lambda 0.5, its script 3.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/robust_finetune_3e.py", "../_base_/runtime/default.py"]
student = dict(name="robustbench:imagenet/Linf/Salman2020Do_R50", pretrained=True)
losses = [dict(type="RAMP", lambda_=0.5, eps=dict(Linf=4 / 255, L2=2.0, L1=255.0), steps=dict(Linf=5, L1=15))]
epochs = 1
optimizer = dict(lr=0.005, weight_decay=1e-4)
schedule = dict(milestones=[1 / 3, 2 / 3])
