"""The Kubernetes operator of Tubeherd."""
