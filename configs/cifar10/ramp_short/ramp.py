# The study's RAMP run alone, from the start that the zoo has.
_base_ = "linf.py"

student = dict(checkpoint="zoo:cifar10/resnet8-narrow-linf")
data = dict(train_limit=10000)
optimizer = dict(lr=0.05)
losses = [dict(type="RAMP", lambda_=1.5, steps=5)]
epochs = 3
