data = dict(type="Digits")
augment = [dict(type="PadCrop", padding=1)]
