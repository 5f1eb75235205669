"""What is measured of clean data, one file a family of operators; ``base.py`` says what an operator is.

Elements: ``mask.py``, ``masks.py``. Pictures and signals: ``blur.py``, ``downsample.py``, ``grey.py``, ``fourier.py``,
``radon.py``, ``sensors.py``, ``phase.py``, ``jpeg.py``, ``tones.py``. Other data: ``tokens.py``, ``angles.py``. Any:
``matrix.py``, ``function.py``, ``combined.py`` (one after another, several at once, on a part), ``deepinv.py`` (objects
of that library). Helpers: ``shapes``, ``separable``, ``convolutions``, ``resampling``, ``sparse``.
"""
