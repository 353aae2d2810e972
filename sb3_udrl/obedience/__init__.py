"""What makes an agent obey: an archive of episodes of all kinds, practice, and a card that says what it can do."""

from sb3_udrl.obedience.obedience import Obedience
from sb3_udrl.obedience.score_card import ScoreCard

__all__ = ["Obedience", "ScoreCard"]
