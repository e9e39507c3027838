data = dict(type="CIFAR10")
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
