"""What is asked of molecules beside new ones: a property, conformers of a graph, growth about a core, a shape.

``steering`` measures how well an asked property is met, ``conformers`` draws and compares conformers of a given graph,
``growing`` completes a known fragment, ``shapes`` are energies that guide towards the shape of another molecule.
``data`` makes training data for the tasks, ``likening`` draws by them, ``predicting`` answers a file of the user's own.
"""
