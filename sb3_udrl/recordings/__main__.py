"""``python -m sb3_udrl.recordings record|inspect|train|evaluate``."""

from sb3_udrl.recordings.command_line import main

if __name__ == "__main__":
    main()
