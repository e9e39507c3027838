# One data-centre GPU: batch 64 of CIFAR is bound by launches, so the step is one CUDA graph.
runtime = dict(precision="bf16", channels_last=True, cuda_graph=True, log_every=200)
