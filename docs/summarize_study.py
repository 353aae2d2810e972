"""What a study of the Zoo's ``-optimize`` found, as Markdown: the pages docs/results/study_*.md.

Run: python docs/summarize_study.py STORAGE STUDY_NAME COMMAND > docs/results/study_NAME.md
"""

import sys

import optuna

N_BEST = 5

storage, study_name, command = sys.argv[1:]
study = optuna.load_study(study_name=study_name, storage=storage)
complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
best = sorted(complete, key=lambda trial: trial.value, reverse=True)[:N_BEST]
importances = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
columns = [*importances, *sorted({name for trial in best for name in trial.params} - set(importances))]


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


print(f"# Study {study_name}\n")
print(f"`{command}`\n")
print(
    f"{len(study.trials)} trials, {len(complete)} of them complete, the others pruned or failed; Optuna {optuna.__version__}. "
    "Values are the Zoo's: mean greedy return of its last evaluation. The best of many single runs are lucky ones.\n"
)
print("| | importance | " + " | ".join(f"trial {trial.number}" for trial in best) + " |")
print("|---" * (2 + len(best)) + "|")
print("| value | | " + " | ".join(shown(trial.value) for trial in best) + " |")
for name in columns:
    importance = f"{importances[name]:.2f}" if name in importances else ""
    print(f"| `{name}` | {importance} | " + " | ".join(shown(trial.params.get(name, "")) for trial in best) + " |")
