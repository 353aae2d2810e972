"""Which observations and actions are taken, and which actions lie in a space."""
