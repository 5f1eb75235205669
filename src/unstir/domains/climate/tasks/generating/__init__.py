"""Weather drawn from nothing: windows ``generated``, their ``tails``, ``events`` and their honest return periods."""
