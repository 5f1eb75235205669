"""Measures of crystals: do they match, are they sound, do they cover the data, are they new, what is their energy?"""
