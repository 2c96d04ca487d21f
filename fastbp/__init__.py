"""fastbp: multilayer perceptrons trained on the CPU by backpropagation written out by hand."""

from .callbacks import Checkpoint, EarlyStopping
from .config import show_config
from .ensemble import Ensemble
from .errors import DivergedError
from .layers import Dense
from .losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Poisson, Quantile
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, NAdam, RMSprop, Rprop
from .saving import load
from .version import __version__

__all__ = [
    "MAE", "MSE", "SGD", "AMSGrad", "Adagrad", "Adam", "AdamW", "BinaryCrossEntropy", "Checkpoint", "CrossEntropy",
    "Dense", "DivergedError", "EarlyStopping", "Ensemble", "Hinge", "Huber", "NAdam", "Network", "Poisson", "Quantile",
    "RMSprop", "Rprop", "__version__", "load", "show_config",
]  # fmt: skip
