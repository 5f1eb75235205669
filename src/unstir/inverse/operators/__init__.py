"""What is measured of clean data, one file a family of operators; ``base.py`` says what an operator is."""
