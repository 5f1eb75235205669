"""Fine fields from coarse ones: ``coarsening``, ``regression`` as the centre, ``kriging`` as the exact answer."""
