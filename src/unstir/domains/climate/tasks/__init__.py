"""The field's tasks, a folder each: ``task`` reads, proposes and predicts, ``judging`` compares.

``climate.task.TASKS`` names them.
"""
