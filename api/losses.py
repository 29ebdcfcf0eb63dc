"""Losses and metrics by name, as users import them; `onnxla.train.losses` has their code."""

from onnxla.train.losses import LOSSES as LOSSES
from onnxla.train.losses import METRICS as METRICS
from onnxla.train.losses import accuracy as accuracy
from onnxla.train.losses import binary_cross_entropy as binary_cross_entropy
from onnxla.train.losses import cross_entropy as cross_entropy
from onnxla.train.losses import cross_entropy_probabilities as cross_entropy_probabilities
from onnxla.train.losses import ctc as ctc
from onnxla.train.losses import mean_squared_error as mean_squared_error
