"""fastbp: multilayer perceptrons trained on the CPU by backpropagation written out by hand."""

from .callbacks import EarlyStopping
from .checkpoint import Checkpoint
from .config import show_config
from .errors import DivergedError
from .layers import Dense
from .losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Poisson, Quantile
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, NAdam, RMSprop, Rprop
from .runs import Run, resume
from .saving import load
from .version import __version__

__all__ = [
    "MAE", "MSE", "SGD", "AMSGrad", "Adagrad", "Adam", "AdamW", "BinaryCrossEntropy", "Checkpoint", "CrossEntropy",
    "Dense", "DivergedError", "EarlyStopping", "Hinge", "Huber", "NAdam", "Network", "Poisson", "Quantile", "RMSprop",
    "Rprop", "Run", "__version__", "load", "resume", "show_config",
]  # fmt: skip
