"""What molecules and crystals share: structures, padded sets of atoms, elements, pictures in three dimensions.

No field by itself. ``structures`` holds one molecule or crystal as plain arrays, ``sets`` many of them as states for
training. May import what ``domains`` may.
"""
