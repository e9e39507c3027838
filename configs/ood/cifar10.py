# OpenOOD v1.5's near and far sets for CIFAR-10 (Zhang et al., 2023); textures10 is a part of Textures.
# What is not on disk below data.root is left out. OpenOOD drops Tiny-ImageNet pictures of CIFAR's classes: put those
# that are left into tiny_imagenet/.
near = [
    dict(name="CIFAR-100", folder="cifar100"),
    dict(name="Tiny-ImageNet", folder="tiny_imagenet", size="bilinear"),
]
far = [
    dict(name="MNIST", folder="mnist", channels="repeat", size="bilinear"),
    dict(name="SVHN", folder="svhn"),
    dict(name="Textures", folder="textures", size="bilinear"),
    dict(name="textures10", folder="textures10", size="bilinear"),
    dict(name="Places365", folder="places365", size="bilinear"),
]
