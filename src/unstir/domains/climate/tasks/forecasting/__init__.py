"""Forecasts by steps: ``cases`` of states in a row, ``stencil`` regression as the centre, ``rollout``, rivals."""
