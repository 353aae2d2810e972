"""Labels in hindsight: what stored steps fulfilled of each part of a command."""

from sb3_udrl.labels.advantage import AdvantageLabeler
from sb3_udrl.labels.hindsight import LABELERS, CommandBatch, Hindsight
from sb3_udrl.labels.labeler import HorizonLabeler, Labeler, SumLabeler

__all__ = ["LABELERS", "AdvantageLabeler", "CommandBatch", "Hindsight", "HorizonLabeler", "Labeler", "SumLabeler"]
