# RAMP from scratch, with gradient projection. Published: lambda 5, 81.2 clean, 46.0 Linf, 65.8 L2, 48.3 L1, 44.6 union;
# lambda 2: 82.1, 45.5, 66.6, 48.4, 44.0. The published code's optimiser leaves batch norm and biases at a learning
# rate of 1 throughout; optimizer.legacy_bn_lr=1.0 repeats that.
_base_ = ["../_base_/robust/scratch.py"]
losses = [dict(type="RAMP", lambda_=5.0)]
project_gradients = dict(beta=0.5)
