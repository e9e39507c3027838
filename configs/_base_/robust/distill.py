# A robust teacher of RobustBench (pip install robustbench) to PreActResNet-18, in ARD's and IAD's recipe.
_base_ = ["../data/cifar10.py", "../runtime/default.py"]
student = "preact_resnet18"
teacher = dict(name="robustbench:cifar10/Linf/Zhang2019Theoretically", pretrained=True)  # WRN-34-10, TRADES
epochs = 200
batch_size = 128
optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=2e-4)
schedule = dict(type="MultiStep", milestones=[100, 150], gamma=0.1)
