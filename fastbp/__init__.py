"""fastbp: multilayer perceptrons trained on the CPU by backpropagation written out by hand."""

from .callbacks import EarlyStopping
from .checkpoint import Checkpoint
from .config import show_config
from .ensemble import Ensemble
from .errors import DivergedError
from .layers import Activation, BatchNorm, Dense, Dropout, LayerNorm
from .lbfgs import LBFGS
from .levenberg_marquardt import LevenbergMarquardt
from .losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Poisson, Quantile
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, NAdam, RMSprop, Rprop
from .progress import Progress
from .runs import Run, resume
from .saving import load
from .schedules import Cosine, ExponentialDecay, OneCycle, Plateau, StepDecay, Warmup
from .version import __version__

__all__ = [
    "LBFGS", "MAE", "MSE", "SGD", "AMSGrad", "Activation", "Adagrad", "Adam", "AdamW", "BatchNorm",
    "BinaryCrossEntropy", "Checkpoint", "Cosine", "CrossEntropy", "Dense", "DivergedError", "Dropout", "EarlyStopping",
    "Ensemble", "ExponentialDecay", "Hinge", "Huber", "LayerNorm", "LevenbergMarquardt", "NAdam", "Network", "OneCycle",
    "Plateau", "Poisson", "Progress", "Quantile", "RMSprop", "Rprop", "Run", "StepDecay", "Warmup", "__version__",
    "load", "resume", "show_config",
]  # fmt: skip
