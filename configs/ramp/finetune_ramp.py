# RAMP, fine-tuned. Published (lambda 1.5): 81.1 clean, 45.4 Linf, 66.1 L2, 47.2 L1, 43.1 union; 0.5: 42.9 union.
_base_ = ["../_base_/robust/finetune.py"]
losses = [dict(type="RAMP", lambda_=1.5)]
