"""``python -m sb3_udrl.remote send|fetch``."""

from sb3_udrl.remote.command_line import main

if __name__ == "__main__":
    main()
