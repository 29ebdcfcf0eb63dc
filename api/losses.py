"""Losses and metrics by name, as users import them; `onnxla.train` has their code."""

from onnxla.train.distillation import distilled as distilled
from onnxla.train.losses import LOSSES as LOSSES
from onnxla.train.losses import binary_cross_entropy as binary_cross_entropy
from onnxla.train.losses import contrastive as contrastive
from onnxla.train.losses import cross_entropy as cross_entropy
from onnxla.train.losses import cross_entropy_probabilities as cross_entropy_probabilities
from onnxla.train.losses import ctc as ctc
from onnxla.train.losses import dice as dice
from onnxla.train.losses import distillation as distillation
from onnxla.train.losses import focal as focal
from onnxla.train.losses import huber as huber
from onnxla.train.losses import kl_divergence as kl_divergence
from onnxla.train.losses import mean_absolute_error as mean_absolute_error
from onnxla.train.losses import mean_squared_error as mean_squared_error
from onnxla.train.losses import triplet as triplet
from onnxla.train.metrics import METRICS as METRICS
from onnxla.train.metrics import Metric as Metric
from onnxla.train.metrics import accuracy as accuracy
from onnxla.train.metrics import auc as auc
from onnxla.train.metrics import confusion_matrix as confusion_matrix
from onnxla.train.metrics import f1 as f1
from onnxla.train.metrics import iou as iou
from onnxla.train.metrics import perplexity as perplexity
from onnxla.train.metrics import precision as precision
from onnxla.train.metrics import recall as recall
from onnxla.train.metrics import top_k as top_k
