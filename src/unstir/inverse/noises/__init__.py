"""The noise of measuring, one file a law; ``base.py`` says what a noise is."""
