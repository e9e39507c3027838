"""The CIFAR networks: names, sizes, maps and arithmetic."""

import subprocess
import sys

import pytest
import timm
import torch
import torch.nn.functional as F

import kdzoo.models  # noqa: F401  (enters the networks into timm's registry)

# Parameters for 100 classes and three channels.
PARAMETERS = {
    # As the literature's code has them (RepDistiller, mdistiller; several are printed in papers in
    # millions): known beforehand, and met by these definitions.
    "resnet20": 278_324,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_28_10": 36_479_194 + 90 * 641,
    "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13_cifar": 9_462_180,
    "mobilenetv2_half": 812_836,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
    "resnet50_cifar": 23_705_252,
    # By hand: a ResNet of n blocks a stage has 432 + 32 (stem), n * 4_672 (width 16),
    # 14_528 + (n - 1) * 18_560 (width 32), 57_728 + (n - 1) * 73_984 (width 64), 6_500 (classifier).
    "resnet8": 464 + 4_672 + 14_528 + 57_728 + 6_500,
    "resnet14": 464 + 2 * 4_672 + 14_528 + 18_560 + 57_728 + 73_984 + 6_500,
    "resnet32": 464 + 5 * 4_672 + 14_528 + 4 * 18_560 + 57_728 + 4 * 73_984 + 6_500,
    "resnet44": 464 + 7 * 4_672 + 14_528 + 6 * 18_560 + 57_728 + 6 * 73_984 + 6_500,
    # By hand: each 3x3 convolution of VGG has 9 * in * out + out, its batch norm 2 * out.
    "vgg11_cifar": 1_920 + 74_112 + 295_680 + 590_592 + 1_181_184 + 3 * 2_360_832 + 51_300,
    "vgg16_cifar": 9_462_180 + 590_592 + 2 * 2_360_832,
    "vgg19_cifar": 9_462_180 + 2 * 590_592 + 4 * 2_360_832,
    # By hand: stem 432; group 1 two 4_672; group 2 32 + 4_608 + 64 + 9_216 + 512 and 18_560; group 3
    # 64 + 18_432 + 128 + 36_864 + 2_048 and 73_984; final norm 128; classifier 6_500.
    "wrn_16_1": 432 + 2 * 4_672 + 14_432 + 18_560 + 57_536 + 73_984 + 128 + 6_500,
    # From memory: 11_172_170 for ten classes, the final batch norm included; 513 more a class.
    "preact_resnet18": 11_172_170 + 90 * 513,
    # By hand, three channels: 5 * 5 * 3 * 32 + 32; 5 * 5 * 32 * 64 + 64; (7 * 7 * 64 + 1) * 1024; 1025 a class.
    "agarap_cnn": 2_432 + 51_264 + 3_212_288 + 102_500,
    # By hand: three gates of 256 units see 3 * 28 values, 256 states and two biases; 257 a class.
    "gru_rows": 3 * 256 * (84 + 256 + 2) + 25_700,
}
# One of each family.
SMALLEST = (
    "resnet8", "wrn_16_1", "vgg8", "mobilenetv2_half", "shufflenetv1", "shufflenetv2", "preact_resnet18",
    "agarap_cnn", "gru_rows",
)
FIXED_SIZE = ("agarap_cnn", "gru_rows")


def build(name, size=32, **kwargs):
    if name in FIXED_SIZE:
        kwargs["img_size"] = size
    torch.manual_seed(0)
    return timm.create_model(name, **kwargs)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_literatures(name):
    network = timm.create_model(name, num_classes=100, in_chans=3)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_every_network_of_ours_is_in_the_table():
    ours = {n for n in timm.list_models() if timm.model_entrypoint(n).__module__.startswith("kdzoo.")}
    assert ours == set(PARAMETERS)


def test_no_name_of_timms_is_shadowed():
    # timm warns where a registration replaces another one; -W error makes that fail.
    code = (
        "import timm; before = {n: timm.model_entrypoint(n) for n in timm.list_models()}\n"
        "import warnings; warnings.filterwarnings('error', message='Overwriting')\n"
        "import kdzoo.models\n"
        "assert all(timm.model_entrypoint(n) is f for n, f in before.items())\n"
        "assert timm.is_model('resnet8x4') and 'resnet8x4' not in before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [(name, 3, 32) for name in PARAMETERS] + [(name, 1, size) for name in SMALLEST for size in (28, 8)],
)
def test_images_of_any_size_and_colour(name, channels, size):
    network = build(name, size, num_classes=7, in_chans=channels).eval()
    images = torch.rand(2, channels, size, size)
    with torch.no_grad():
        last, maps = network.forward_intermediates(images)
        features, logits = network.forward_features(images), network(images)
        pooled = network.forward_head(last, pre_logits=True)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    assert torch.equal(last, features) and torch.equal(logits, network.forward_head(last))
    assert pooled.shape == (2, network.num_features)
    assert torch.equal(network.get_classifier()(pooled), logits)
    sides = [m.shape[2] for m in maps]
    assert all(m.ndim == 4 for m in maps) and sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet8x4", [(32, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("wrn_16_2", [(16, 32, 32), (32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("vgg8", [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]),
        ("mobilenetv2_half", [(16, 16, 16), (12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2)]),
        ("shufflenetv1", [(24, 32, 32), (240, 16, 16), (480, 8, 8), (960, 4, 4)]),
        ("shufflenetv2", [(24, 32, 32), (116, 16, 16), (232, 8, 8), (464, 4, 4)]),
        ("resnet50_cifar", [(64, 32, 32), (256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]),
    ],
)
def test_stage_maps_are_those_of_the_feature_losses(name, shapes):
    network = build(name).eval()
    maps = network.forward_intermediates(torch.rand(1, 3, 32, 32), intermediates_only=True)
    assert [tuple(m.shape[1:]) for m in maps] == shapes


def test_intermediates_by_index():
    network = build("resnet8").eval()
    images = torch.rand(2, 3, 16, 16)
    maps = network.forward_intermediates(images, intermediates_only=True)
    last_two = network.forward_intermediates(images, indices=2, intermediates_only=True)
    first = network.forward_intermediates(images, indices=[0], stop_early=True, intermediates_only=True)
    assert torch.equal(last_two[0], maps[2]) and torch.equal(last_two[1], maps[3]) and len(last_two) == 2
    assert torch.equal(first[0], maps[0]) and len(first) == 1
    with pytest.raises(ValueError, match="NCHW"):
        network.forward_intermediates(images, output_fmt="NLC")


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2_half", "shufflenetv2", "gru_rows"])
def test_reset_classifier(name):
    network = build(name, 16, num_classes=10).eval()
    names = list(network.state_dict())
    network.reset_classifier(3)
    assert network(torch.rand(2, 3 if name != "gru_rows" else 1, 16, 16)).shape == (2, 3)
    assert network.num_classes == 3 and list(network.state_dict()) == names
    network.reset_classifier(0)
    assert network(torch.rand(2, 3 if name != "gru_rows" else 1, 16, 16)).shape == (2, network.num_features)


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("resnet8x4", "layer2.0.downsample.0.weight", (128, 64, 1, 1)),
        ("resnet8x4", "layer1.0.bn2.running_var", (64,)),
        ("resnet32x4", "layer3.4.conv2.weight", (256, 256, 3, 3)),
        ("resnet20", "fc.bias", (100,)),
        ("wrn_40_2", "block2.layer.0.convShortcut.weight", (64, 32, 1, 1)),
        ("wrn_40_2", "block1.layer.5.bn1.weight", (32,)),
        ("wrn_40_2", "bn1.num_batches_tracked", ()),
        ("vgg13_cifar", "block4.3.weight", (512, 512, 3, 3)),
        ("vgg13_cifar", "block0.1.running_mean", (64,)),
        ("vgg8", "classifier.weight", (100, 512)),
        ("mobilenetv2_half", "conv1.0.weight", (16, 3, 3, 3)),
        ("mobilenetv2_half", "blocks.5.2.conv.3.weight", (480, 1, 3, 3)),
        ("mobilenetv2_half", "blocks.0.0.conv.7.bias", (8,)),
        ("mobilenetv2_half", "conv2.0.weight", (1280, 160, 1, 1)),
        ("mobilenetv2_half", "classifier.0.weight", (100, 1280)),
        ("shufflenetv1", "layer1.0.conv1.weight", (54, 24, 1, 1)),
        ("shufflenetv1", "layer2.7.conv3.weight", (480, 40, 1, 1)),
        ("shufflenetv2", "layer2.0.conv5.weight", (116, 116, 1, 1)),
        ("shufflenetv2", "layer3.3.conv2.weight", (232, 1, 3, 3)),
        ("resnet50_cifar", "layer4.0.shortcut.1.weight", (2048,)),
        ("resnet50_cifar", "linear.weight", (100, 2048)),
        ("preact_resnet18", "layer2.0.shortcut.0.weight", (128, 64, 1, 1)),
    ],
)
def test_names_are_those_of_published_checkpoints(name, key, shape):
    assert timm.create_model(name, num_classes=100).state_dict()[key].shape == shape


def scramble(network):
    """Give batch norms statistics and weights of their own, so that a forward by hand can be wrong."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and ("bn" in name or tensor.ndim == 1):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


def norm(x, state, name):
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
    return (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + state[f"{name}.bias"].view(-1, 1, 1)


def test_resnet8_by_hand():
    network = scramble(timm.create_model("resnet8", num_classes=5)).double()
    state, x = network.state_dict(), torch.rand(2, 3, 32, 32, dtype=torch.double)
    expected = norm(F.conv2d(x, state["conv1.weight"], padding=1), state, "bn1").relu()
    for layer, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        out = F.conv2d(expected, state[f"{layer}.conv1.weight"], stride=stride, padding=1)
        out = F.conv2d(norm(out, state, f"{layer}.bn1").relu(), state[f"{layer}.conv2.weight"], padding=1)
        if stride == 2:
            expected = F.conv2d(expected, state[f"{layer}.downsample.0.weight"], stride=2)
            expected = norm(expected, state, f"{layer}.downsample.1")
        expected = (norm(out, state, f"{layer}.bn2") + expected).relu()
    expected = F.avg_pool2d(expected, 8).flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(network(x), expected)


def test_wide_block_by_hand():
    block = scramble(timm.create_model("wrn_16_2", num_classes=5)).double().block2.layer[0]
    state, x = block.state_dict(), torch.randn(2, 32, 8, 8, dtype=torch.double)
    active = norm(x, state, "bn1").relu()
    out = norm(F.conv2d(active, state["conv1.weight"], stride=2, padding=1), state, "bn2").relu()
    shortcut = F.conv2d(active, state["convShortcut.weight"], stride=2)
    expected = F.conv2d(out, state["conv2.weight"], padding=1) + shortcut
    torch.testing.assert_close(block(x), expected)


def shuffled(channels, groups):
    """Where the channels go: group by group turns into one of each group in turn."""
    return [g * (channels // groups) + k for k in range(channels // groups) for g in range(groups)]


def test_shuffle_blocks_by_hand():
    block = scramble(timm.create_model("shufflenetv2", num_classes=5)).double().layer1[1]
    state, x = block.state_dict(), torch.randn(2, 116, 6, 6, dtype=torch.double)
    out = norm(F.conv2d(x[:, 58:], state["conv1.weight"]), state, "bn1").relu()
    out = norm(F.conv2d(out, state["conv2.weight"], padding=1, groups=58), state, "bn2")
    out = norm(F.conv2d(out, state["conv3.weight"]), state, "bn3").relu()
    expected = torch.cat([x[:, :58], out], 1)[:, shuffled(116, 2)]
    torch.testing.assert_close(block(x), expected)

    block = scramble(timm.create_model("shufflenetv1", num_classes=5)).double().layer2[0]
    state, x = block.state_dict(), torch.randn(2, 240, 6, 6, dtype=torch.double)
    out = norm(F.conv2d(x, state["conv1.weight"], groups=3), state, "bn1").relu()[:, shuffled(60, 3)]
    out = norm(F.conv2d(out, state["conv2.weight"], stride=2, padding=1, groups=60), state, "bn2").relu()
    out = norm(F.conv2d(out, state["conv3.weight"], groups=3), state, "bn3")
    expected = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1).relu()
    torch.testing.assert_close(block(x), expected)


def test_vgg_pools_a_fourth_time_from_64_pixels_on():
    network = build("vgg8").eval()
    sides = {s: network.forward_features(torch.rand(1, 3, s, s)).shape[-1] for s in (32, 63, 64)}
    assert sides == {32: 4, 63: 7, 64: 4}


def test_agarap_cnn_starts_and_drops_as_the_paper_says():
    torch.manual_seed(0)
    network = timm.create_model("agarap_cnn")
    weight = network.fc1.weight
    assert network.conv1.bias.unique().item() == pytest.approx(0.1) and weight.abs().max() <= 0.2
    assert weight.std().item() == pytest.approx(0.088, abs=0.001)  # normal of 0.1, cut at two deviations
    last = network.forward_features(torch.rand(8, 1, 28, 28))
    dropped = network.train().forward_head(last, pre_logits=True) == 0
    kept = network.eval().forward_head(last, pre_logits=True) > 0
    assert (dropped & kept).sum() / kept.sum() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_a_network_of_fixed_size_says_so(name):
    with pytest.raises(ValueError, match="img_size"):
        timm.create_model(name)(torch.rand(1, 1, 32, 32))


def test_gru_reads_rows_in_order():
    network = build("gru_rows", 8, num_classes=3, in_chans=3).eval()
    images = torch.rand(2, 3, 8, 8)
    states = network.forward_features(images)
    torch.testing.assert_close(network.forward_features(images[:, :, :5]), states[:, :, :5])
    later = images.clone()
    later[:, :, 5:] = 0
    torch.testing.assert_close(network.forward_features(later)[:, :, :5], states[:, :, :5])
    assert not torch.equal(network(later), network(images))


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_he_initialisation(name):
    network = build(name)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 5_000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
