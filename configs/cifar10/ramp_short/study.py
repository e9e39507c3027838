# Robustness against three norms on two CPU cores: a quarter-size resnet8, adversarially trained in Linf, then
# fine-tuned from there with RAMP, E-AT and MAX on 10,000 images.
_base_ = ["../../_base_/data/cifar10.py", "../../_base_/schedules/onecycle_4e.py", "../../_base_/runtime/cpu.py"]

student = dict(name="resnet8", options=dict(widths=(8, 8, 16, 32)), checkpoint="run:linf")
runtime = dict(precision="fp32")
data = dict(train_limit=10000)
optimizer = dict(lr=0.05)
runs = [
    # Few attack steps and all images: a start, not a result.
    dict(
        name="linf",
        student=dict(checkpoint=None),
        data=dict(train_limit=None),
        losses=[dict(type="AdversarialTraining", norm="Linf", steps=2)],
        epochs=4,
        optimizer=dict(lr=0.2),
    ),
    dict(name="ramp", losses=[dict(type="RAMP", lambda_=1.5)], epochs=3),
    # One attack a batch, where RAMP has two and MAX three: more epochs in the same time.
    dict(name="eat", losses=[dict(type="E-AT")], epochs=6),
    dict(name="max", losses=[dict(type="MAX")], epochs=2),
]
