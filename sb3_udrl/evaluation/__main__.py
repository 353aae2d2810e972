"""``python -m sb3_udrl.evaluation MODEL --env ENV``: the report on a saved model."""

from sb3_udrl.evaluation.report import main

if __name__ == "__main__":
    main()
