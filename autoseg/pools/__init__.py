"""Pools: where training jobs run."""
