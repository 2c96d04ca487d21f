"""fastbp: multilayer perceptrons trained on the CPU by backpropagation written out by hand."""

from .callbacks import Checkpoint, EarlyStopping
from .config import show_config
from .errors import DivergedError
from .layers import Dense
from .losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Poisson, Quantile
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, NAdam, RMSprop, Rprop
from .progress import Progress
from .saving import load
from .schedules import Cosine, ExponentialDecay, OneCycle, Plateau, StepDecay, Warmup
from .version import __version__

__all__ = [
    "MAE", "MSE", "SGD", "AMSGrad", "Adagrad", "Adam", "AdamW", "BinaryCrossEntropy", "Checkpoint", "Cosine",
    "CrossEntropy", "Dense", "DivergedError", "EarlyStopping", "ExponentialDecay", "Hinge", "Huber", "NAdam", "Network",
    "OneCycle", "Plateau", "Poisson", "Progress", "Quantile", "RMSprop", "Rprop", "StepDecay", "Warmup", "__version__",
    "load", "show_config",
]  # fmt: skip
