runtime = dict(precision="fp32", channels_last=True, log_every=50)
