"""Raw ensembles to calibrated ones: ``pairing`` with observations, ``predictors`` and the EMOS centre, ``cases``."""
