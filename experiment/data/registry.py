"""Registry of data sets: the names that `--dataset` takes, each with a one-line description."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mhng.experiment.data.custom import dataset as custom_dataset

# The first is the default.
DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "mnist5k": "5,000 MNIST digits, 28x28, 500 per class, in a fixed random order",
        "mnist": "60,000 training images of MNIST, 28x28, in file order",
        "fashion-mnist": "60,000 training images of Fashion-MNIST, 28x28, in file order",
        "kmnist": "60,000 training images of Kuzushiji-MNIST, 10 cursive kana, 28x28, in file order",
        "emnist-letters": "124,800 training images of EMNIST, 26 letters with cases merged, 28x28, in file order",
        "emnist-balanced": "112,800 training images of EMNIST, 47 digits and letters, 2,400 per class, 28x28",
        "emnist-digits": "240,000 training images of EMNIST, 10 digits, 28x28, in file order",
        "emnist-mnist": "60,000 training images of EMNIST, 10 digits, 28x28, in file order",
        "emnist-bymerge": "697,932 training images of EMNIST, 47 digits and letters, 28x28, in file order",
        "emnist-byclass": "697,932 training images of EMNIST, 62 digits and letters, 28x28, in file order",
        "cifar10": "50,000 training images of CIFAR-10, 32x32, in colour, in file order",
        "svhn": "73,257 training digits of Street View House Numbers, 32x32, in colour, in file order",
        "fruits360": "2,350 pictures of ten kinds of fruit on a turntable (Fruits 360), 32x32, in colour",
        "fruits360-20": "4,700 pictures of twenty kinds of fruit on a turntable (Fruits 360), 32x32, in colour",
        "digits": "1,797 handwritten digits, 8x8",
        "synthetic": "features from a known Gaussian mixture; the agents confuse different pairs of classes",
        "numbers": "numbers of two handwritten digits side by side, 2x8x8 as features, drawn from --seed",
        "mnist-numbers": "numbers of two MNIST digits side by side, images of 28x56, drawn from --seed",
        "sprites": "rendered pictures with shape, hue, size and place, four values each, 24x24, in colour",
        "dsprites": "pictures of dSprites, 32x32, with shape, scale and place, drawn from --seed",
        "3dshapes": "pictures of 3D Shapes, 32x32, in colour, with three hues, scale and shape, drawn from --seed",
        "attributes:AxV": "one object for each combination of A attributes with V values, as one-hots",
        **custom_dataset.KINDS,
    }
)
