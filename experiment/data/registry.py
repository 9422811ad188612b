"""Names of the data sets that `--dataset` takes, each with one line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mhng.experiment.data.custom import dataset as custom_dataset

# The first is the default.
DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "mnist5k": "5,000 MNIST digits, 28x28, 500 a class, in a fixed random order",
        "mnist": "the 60,000 training images of MNIST, 28x28, in file order",
        "fashion-mnist": "the 60,000 training images of Fashion-MNIST, 28x28, in file order",
        "kmnist": "the 60,000 training images of Kuzushiji-MNIST, ten cursive kana, 28x28, in file order",
        "emnist-letters": "EMNIST's 124,800 training letters, both cases as one class, 28x28, in file order",
        "emnist-balanced": "EMNIST's 112,800 training images of 47 digits and letters, as many of each, 28x28",
        "emnist-digits": "EMNIST's 240,000 training digits, 28x28, in file order",
        "emnist-mnist": "EMNIST's 60,000 training digits in the number of MNIST's, 28x28, in file order",
        "emnist-bymerge": "EMNIST's 697,932 training images of 47 digits and letters, 28x28, in file order",
        "emnist-byclass": "EMNIST's 697,932 training images of 62 digits and letters, 28x28, in file order",
        "cifar10": "the 50,000 training images of CIFAR-10, 32x32, in colour, in file order",
        "svhn": "the 73,257 training digits of Street View House Numbers, 32x32, in colour, in file order",
        "digits": "1,797 handwritten digits, 8x8",
        "synthetic": "a Gaussian mixture with known truth; each agent confuses other pairs of classes",
        **custom_dataset.KINDS,
    }
)
