# Robustness against three norms on two CPU cores: a quarter-size resnet8, adversarially trained in Linf, then
# fine-tuned from there with RAMP, E-AT and MAX on 10,000 images. The attacks have 5 steps (the literature: 10).
# At about equal time: a step of RAMP has two attacks and three more forwards, one of E-AT a single attack, one of MAX
# three, so E-AT has twice the epochs and more, and MAX as many. Neither has less time than RAMP.
_base_ = ["../../_base_/data/cifar10.py", "../../_base_/schedules/onecycle_4e.py", "../../_base_/runtime/cpu.py"]

student = dict(name="resnet8", options=dict(widths=(8, 8, 16, 32)), checkpoint="run:linf")
runtime = dict(precision="fp32")
data = dict(train_limit=10000)
optimizer = dict(lr=0.05)
runs = [
    # Two attack steps, on all images: a start, not a result.
    dict(
        name="linf",
        student=dict(checkpoint=None),
        data=dict(train_limit=None),
        losses=[dict(type="AdversarialTraining", norm="Linf", steps=2)],
        epochs=4,
        optimizer=dict(lr=0.2),
    ),
    dict(name="ramp", losses=[dict(type="RAMP", lambda_=1.5, steps=5)], epochs=3),
    dict(name="eat", losses=[dict(type="E-AT", steps=5)], epochs=7),
    dict(name="max", losses=[dict(type="MAX", steps=5)], epochs=3),
]
