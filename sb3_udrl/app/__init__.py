"""The demo: watch a model obey, in a browser (extra ``app``). ``page.py`` shows what the other modules compute."""
