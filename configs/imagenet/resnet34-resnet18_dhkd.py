# ResNet-34 to ResNet-18, Dual-Head KD; the auxiliary loss is off in the second half.
_base_ = ["../_base_/data/imagenet.py", "../_base_/schedules/sgd_100e_imagenet.py", "../_base_/runtime/default.py"]

student = "resnet18"
teacher = dict(name="resnet34.tv_in1k", pretrained=True)
batch_size = 256  # the authors' 2 x 128 and rate, half of what the other methods' recipe has
optimizer = dict(lr=0.1)
losses = [
    dict(type="CrossEntropy"),
    dict(type="BinaryKLNorm", temperature=2.0, head="linear", weight=0.1, until_epoch=50),
]
