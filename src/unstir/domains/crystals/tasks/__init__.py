"""What a crystal model may be told and asked, beyond drawing crystals like the data.

``conditions`` computes what is told of crystals in training: composition, chemical system, space group, density.
``wyckoff`` knows a space group's orbits, ``symmetric`` draws on them alone, ``completion`` draws what is not known of a
partly known crystal, ``steering`` measures how well an asked property was met. May import what ``domains`` may.
"""
