"""Small trained models that the demo shows, and the script that makes them: ``python -m sb3_udrl.app.gallery``."""
