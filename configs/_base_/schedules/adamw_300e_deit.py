# DeiT's recipe (Touvron et al., ICML 2021), without its repeated augmentation and stochastic depth.
epochs = 300
batch_size = 1024
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05, decay_all=False)
schedule = dict(type="Cosine", warmup_epochs=5, final_factor=0.01)
clip_grad = 5.0
