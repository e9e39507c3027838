data = dict(type="MNIST")
augment = [dict(type="PadCrop", padding=2)]
