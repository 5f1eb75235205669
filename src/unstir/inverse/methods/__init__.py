"""Ways to draw from the law of clean data given a measurement, one file a family; ``base.py`` says what a method is."""
