"""What /metrics of the operator shows. Most is read from its memory when Prometheus asks, so nothing is kept twice."""
