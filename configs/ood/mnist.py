# MNIST against other grey characters (near) and colour pictures made grey (far). What is not on disk is left out.
near = [
    dict(name="KMNIST", folder="kmnist"),
]
far = [
    dict(name="CIFAR-10", folder="cifar10", channels="mean", size="bilinear"),
    dict(name="textures10", folder="textures10", channels="mean", size="bilinear"),
]
