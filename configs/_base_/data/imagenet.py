data = dict(type="ImageNet")
augment = [dict(type="RandomResizedCrop"), dict(type="Flip")]
