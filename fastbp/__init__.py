"""fastbp: multilayer perceptrons trained on the CPU by backpropagation written out by hand."""

from .callbacks import Checkpoint, EarlyStopping
from .config import show_config
from .errors import DivergedError
from .layers import Dense
from .losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Poisson, Quantile
from .network import Network
from .optimizers import SGD, Adam, AdamW
from .saving import load
from .version import __version__

__all__ = [
    "MAE", "MSE", "SGD", "Adam", "AdamW", "BinaryCrossEntropy", "Checkpoint", "CrossEntropy", "Dense", "DivergedError",
    "EarlyStopping", "Hinge", "Huber", "Network", "Poisson", "Quantile", "__version__", "load", "show_config",
]  # fmt: skip
