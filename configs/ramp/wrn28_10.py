# RAMP from scratch, WRN-28-10: 30 epochs up to a learning rate of 0.1 and down, with TRADES's divergence. (Published:
# linear up and down; OneCycle is the same with cosines.)
_base_ = ["../_base_/robust/scratch.py"]
student = dict(_delete_=True, name="wrn_28_10")
losses = [dict(type="RAMP", lambda_=5.0, trades=6.0)]
project_gradients = dict(beta=0.5)
epochs = 30
optimizer = dict(lr=0.1)
schedule = dict(_delete_=True, type="OneCycle", peak=0.4)
