data = dict(type="CIFAR100")
augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
